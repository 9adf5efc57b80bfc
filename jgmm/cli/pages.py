"""The pages of a run: `report.html` of one image, `index.html` of several."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from jgmm.cli.about import page_folder
from jgmm.cli.options import Options
from jgmm.cli.outputs import shown, writes_geotiffs
from jgmm.em.result import FitResult, quantity_of
from jgmm.image.display import Display
from jgmm.image.files import Image
from jgmm.image.segmentation import Segmentation
from jgmm.report.page import Entry, link_to_index, write_index, write_report
from jgmm.report.scene import photograph_of, scene_of, stride_for

NdArray = npt.NDArray[Any]
REPORT, INDEX = "report.html", "index.html"
_WHERE_THEY_LIE = ("labels", "regions", "certainty")
_OF_TILES = ("segmented_k{k}.tif", "certainty_k{k}.tif", "segments_k{k}.csv")
_OF_EACH = ("segmented", "labels", "regions", "overlay", "certainty")


@dataclasses.dataclass(frozen=True)
class Report:
    """What a page will show of an image, gathered k by k; nothing where none is asked for."""

    image: Image
    show: Display
    stride: int
    options: Options
    scenes: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    merged: set[int] = dataclasses.field(default_factory=set)  # k of which there is a contour map

    def add(self, found: Segmentation, table: Mapping[str, NdArray]) -> None:
        """One more k, with the table of its segments."""
        if not self.options.report:
            return
        if not found.setup.spatial.as_drawn:
            self.merged.add(found.fit.mixture.n_components)
        self.scenes.append(scene_of(found, table, self.show, self.stride))

    def write(
        self,
        folder: Path,
        pictures: str,
        fits: Mapping[int, FitResult],
        summary: Mapping[str, Any],
        above: str = "",
    ) -> None:
        """Write `report.html`.

        Seen from there, ``pictures`` is where those of the image are, and ``above`` where the files
        about the fits are. Where a model was applied, there are no fits.
        """
        if not self.options.report:
            return
        reduced = "reduced_by" in summary
        general = [f"{above}learning_curves.png", "comparison.png"] if fits else []
        if len(summary.get("chosen_from", [])) > 1:
            general.append(f"{above}criteria.png")
        files = [("all k", [*general, "summary.json"])]
        for k in (scene["k"] for scene in self.scenes):
            names = [f"{pictures}{name}_k{k}.png" for name in _OF_EACH]
            tables = [f"{pictures}{name}_k{k}.csv" for name in ("segments", "regions")]
            if not reduced and writes_geotiffs(self.image):
                names += [f"{pictures}{name}_k{k}.tif" for name in _WHERE_THEY_LIE]
            if k in self.merged:
                names.append(f"{pictures}contours_k{k}.png")
            own = ["learning_curve_k{k}.png", "model_k{k}.safetensors"] if fits else []
            own = [above + each.format(k=k) for each in own]
            if reduced:  # what is of all pixels lies here
                own += [each.format(k=k) for each in _OF_TILES]
            if self.options.animate is not None:
                own.append(f"animation_k{k}.{self.options.animate}")
            files.append((f"k = {k}", [*names, *tables, *own]))
        write_report(
            folder / REPORT,
            title=self.image.source.name,
            command=self.options.command,
            photograph=photograph_of(shown(self.show, self.image, self.image.pixels), self.stride),
            scenes=self.scenes,
            histories={k: np.asarray(fit.history).tolist() for k, fit in fits.items()},
            quantity=quantity_of(fits.values()),
            summary=summary,
            stride=self.stride * summary.get("reduced_by", 1),
            files=files,
        )


def report_of(image: Image, show: Display, n_pictures: int, options: Options) -> Report:
    """The beginning of a page about an image cut in so many ways."""
    return Report(image, show, stride_for(image.pixels.shape[:2], n_pictures), options)


def index_of(output: Path, done: Sequence[tuple[str, Path, Mapping[str, Any]]]) -> None:
    """Write `index.html` over the folders of several images, and let their pages link to it."""
    entries = [Entry(name, folder.name, about, _picture(about)) for name, folder, about in done]
    write_index(output / INDEX, entries)
    for _, folder, _ in done:
        link_to_index(folder / REPORT)


def _picture(summary: Mapping[str, Any]) -> str:
    """What an index shows of an image."""
    if "model" not in summary:
        return "comparison.png"
    pages = summary["input"]["pages_taken"]
    inside = "reduced/" if "reduced_by" in summary else ""
    if len(pages) > 1:
        inside = f"{page_folder(pages[0], pages)}/"
    return f"{inside}segmented_k{summary['k']}.png"
