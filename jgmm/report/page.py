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
from jgmm.fitting.options import TELLING
from jgmm.report import charts
from jgmm.report.scene import Photograph

if TYPE_CHECKING:
    import jinja2

_INDEX_GOES_HERE = "<!--index-->"  # in the template; text that is shown cannot hold it


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
            bands=_bands(scenes[0]["bands"], summary["input"]["channels"]),
            scenes=scenes,
            settings=settings_of(summary),
            searched=_searched(summary),
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


def link_to_index(path: str | os.PathLike[str]) -> None:
    """Let a page that `write_report` wrote link to the index in the folder above its own."""
    text = Path(path).read_text("utf-8")
    link = '<p><a href="../index.html">All images</a></p>'
    write_whole(path, text.replace(_INDEX_GOES_HERE, link, 1).encode())


def settings_of(summary: Mapping[str, Any]) -> list[str]:
    """The settings of a run, in words: some are always said, of the rest those in force.

    Where a model was applied they are those of its fit, as far as its file says them.
    """
    options = summary.get("options", summary.get("fitted", {}))

    def given(name: str) -> Any:
        return options.get(name) or None

    words = [f"{summary['features']} features"]
    if options:
        seed = summary.get("seed", options.get("seed"))
        words.append(f"{options['covariance']} covariances")
        words += [] if seed is None else [f"seed {seed}"]
        words += [f"search {options['search']}"] if "search" in options else []
        words.append(options["dtype"])
    if options.get("distribution", "gaussian") != "gaussian":
        words.append(f"{options['distribution']} components")
    if options.get("restarts", 1) != 1:
        words.append(f"{options['restarts']} restarts")
    if given("bayes"):
        words.append("variational Bayes")
    if summary["features"].endswith("+xy") and "xy_weight" in options:
        words.append(f"weight of the position {options['xy_weight']:g}")
    smooth = given("smooth")
    if smooth:
        own = smooth.items() if isinstance(smooth, Mapping) else ()
        more = ", ".join(f"{name} {value:g}" for name, value in own)
        words.append(f"labels smoothed ({more})" if more else "labels smoothed")
    if given("noise_model"):
        words.append(f"noise model {options['noise_model']}, beta {options.get('beta', 'auto')}")
    if given("min_region"):
        words.append(f"min_region {options['min_region']:g}")
    if given("merge"):
        words.append(f"merge {options['merge']:g}")
    if given("regions"):
        words.append(f"merged until {options['regions']} regions are left")
    words += [f"{name} {printable(options[name])}" for name in ("labels", "mask") if given(name)]
    return words


def _searched(summary: Mapping[str, Any]) -> bool:
    """Whether the curves begin with the stages of a search: those of few iterations do not."""
    options = summary.get("options", {})
    plain = not (options.get("noise_model") or options.get("bayes"))
    return bool(plain and options.get("search") == "best" and options.get("max_iter", 0) >= TELLING)


def _bands(names: Sequence[str], channels: int) -> str:
    """Of what the numbers of a page are, in words.

    Example:
        >>> _bands(["red", "green", "blue"], 3), _bands([], 1), _bands(["band_1", "band_2"], 9)
        ('red, green and blue', 'the values', 'band_1 and band_2, the first of 9 bands,')
    """
    if not names:
        return "the values"
    said = " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
    return said if len(names) == channels else f"{said}, the first of {channels} bands,"


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
