"""The page of a run, `report.html`, and the page that lists several, `index.html`."""

from __future__ import annotations

import functools
import json
import os
import urllib.parse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jgmm._atomic import printable, write_whole
from jgmm.report import charts
from jgmm.report.scene import Photograph

if TYPE_CHECKING:
    import jinja2


@dataclass(frozen=True)
class Entry:
    """One image of several: its name, its folder beside the index, and its summary."""

    name: str
    folder: str
    summary: Mapping[str, Any]
    picture: str = "comparison.png"  # in that folder


def write_report(
    path: str | os.PathLike[str],
    *,
    title: str,
    command: str,
    photograph: Photograph,
    scenes: Sequence[Mapping[str, Any]],
    histories: Mapping[int, Sequence[float]],
    quantity: str,
    summary: Mapping[str, Any],
    stride: int,
    files: Sequence[tuple[str, Sequence[str]]],
) -> None:
    """Write the page of a run, whole or not at all.

    It holds all that it shows and asks no network for anything; the files it links to are beside
    it.

    Args:
        path: the file.
        title: the name of the image; whatever it holds, it is shown as text.
        command: that made it.
        photograph: the image.
        scenes: of each k, as `jgmm.report.scene.scene_of` makes them.
        histories: of each k, in nats per pixel.
        quantity: what these are of.
        summary: of the run, as `summary.json` has it; where a model was applied, of that, and
            there are no histories.
        stride: every how many rows and columns are shown.
        files: headings, and names of files.

    Raises:
        OSError: the file cannot be written.
    """
    candidates = summary.get("chosen_from", [])
    chosen = summary.get("chosen_k")
    columns = {name: [c[name.lower()] for c in candidates] for name in ("BIC", "ICL")}
    learning = charts.curves(histories)
    content = {
        "scenes": {str(scene["k"]): scene for scene in scenes},
        "chosen": chosen,
        "curves": None if learning is None else _curve_data(learning, histories),
    }
    text = (
        _environment()
        .get_template("page.html.jinja")
        .render(
            title=printable(title),
            command=printable(command),
            photograph=photograph,
            scenes=scenes,
            chosen=chosen,
            first=_first(scenes, chosen),
            learning=learning,
            criteria=charts.criteria([c["k"] for c in candidates], columns),
            quantity=quantity,
            summary=summary,
            candidates=candidates,
            stride=stride,
            files=files,
            data=content,
            width=charts.WIDTH,
            height=charts.HEIGHT,
        )
    )
    write_whole(path, text.encode())


def write_index(path: str | os.PathLike[str], entries: Sequence[Entry]) -> None:
    """Write the page that links to those of several images, whole or not at all."""
    text = _environment().get_template("index.html.jinja").render(entries=entries)
    write_whole(path, text.encode())


def _first(scenes: Sequence[Mapping[str, Any]], chosen: int | None) -> Mapping[str, Any]:
    """The scene to begin with: of the chosen k, if there is one."""
    return next((scene for scene in scenes if scene["k"] == chosen), scenes[0])


def _curve_data(chart: charts.Chart, histories: Mapping[int, Sequence[float]]) -> dict[str, Any]:
    return {
        "last": chart.x_range[1],
        "values": {
            str(k): [float(f"{v:.7g}") for v in charts.finite(values)]
            for k, values in histories.items()
        },
        "y": chart.y_range,
        "box": [chart.left, chart.right, chart.top, chart.bottom],
    }


def _json(value: Any) -> str:
    """JSON that may stand in a script element: nothing in it ends that, or begins a comment."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _link(path: str) -> str:
    """The address of a file beside the page, whatever it is called."""
    return urllib.parse.quote(os.fsencode(path))


@functools.cache
def _environment() -> jinja2.Environment:
    import jinja2
    from markupsafe import Markup

    folder = Path(__file__).with_name("templates")
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters["json"] = lambda value: Markup(_json(value))  # noqa: S704 (escaped there)
    made.filters["link"] = _link
    made.filters["shown"] = printable
    return made
