"""What regions are merged by, measured at scales that other photographs chose.

    python -m experiments.merging_cues --data DIR [--json FILE]

DIR holds photographs and what people drew, as `experiments.segmentation_quality` takes them. Each
is segmented by the recommended settings with k = 10, and its parts are merged by colours alone, and
by colours with one or both of the cues that jgmm has: textures, and posteriors of the mixture
(`jgmm.image.cues`). Photographs are halved many times; for each measure the scale that is best for
one half is measured on the other, both ways. ± is the standard error over photographs of what cues
change. What came of it, and of what else was tried, is in NOTES-segmentation.md.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import jgmm
from experiments.metrics import covered, overlaps, rand_index, variation_of_information
from experiments.segmentation_quality import DATA, photographs
from jgmm.cli import runtime as _runtime
from jgmm.image import RECOMMENDED, read_image
from jgmm.image.hierarchy import Cues, Hierarchy, tree_of
from jgmm.image.samples import samples_of
from jgmm.image.trees import described

NdArray = npt.NDArray[Any]
SCALES = np.geomspace(0.5, 50, 60)  # values of ``merge``
CUES = {"colours": (), "and textures": (0,), "and posteriors": (1,), "and both": (0, 1)}


def unmerged(photograph: Path) -> tuple[jgmm.Segmentation, NdArray, Cues]:
    """A photograph cut into the parts that merging begins with, and what that goes by."""
    settings = dict(RECOMMENDED) | {"merge": 0.0}
    found = jgmm.segment(photograph, 10, **settings)
    samples = samples_of(read_image(photograph), found.setup.recipe)
    inside = found.parts >= 0
    return found, *described(found.original, inside, found.fit.mixture, samples)


def trees_of(photograph: Path) -> Iterator[Hierarchy]:
    """The hierarchies of a photograph, by each of the `CUES`."""
    found, colours, cues = unmerged(photograph)
    for taken in CUES.values():

        def some(parts: NdArray, taken: tuple[int, ...] = taken) -> list[NdArray]:
            every = cues(parts)
            return [every[i] for i in taken]

        yield tree_of(found.parts, colours, found.setup.spatial.min_region, some)


def agreements(tree: Hierarchy, truths: Sequence[NdArray]) -> NdArray:
    """Covering, VoI, PRI and over how many pixels, of the cut at each scale [S, 4]."""
    finest = tree.cut(merge=0)
    _, first = np.unique(finest, return_index=True)  # a pixel of each region
    tables = [overlaps(finest, truth).astype(np.float64) for truth in truths]
    rows = []
    for scale in SCALES:
        roots = tree.names(merge=scale)[tree.parts.ravel()[first]]
        names = np.unique(roots, return_inverse=True)[1]
        joined = [np.zeros((names.max() + 1, table.shape[1])) for table in tables]
        for sums, table in zip(joined, tables, strict=True):
            np.add.at(sums, names, table)
        pixels = sum(float(table.sum()) for table in joined)
        voi = np.mean([variation_of_information(table) for table in joined])
        pri = np.mean([rand_index(table) for table in joined])
        rows.append([sum(map(covered, joined)) / pixels, voi, pri, pixels])
    return np.array(rows)


def held_out(found: NdArray, halvings: int) -> tuple[NdArray, NdArray]:
    """The measures at scales that the other half chose [3], and for each photograph [N, 3].

    ``found`` [N, S, 4] are the agreements of N photographs.
    """
    return chosen(found[None], halvings)


def chosen(found: NdArray, halvings: int) -> tuple[NdArray, NdArray]:
    """The same of agreements [C, N, S, 4] of which the other half chooses the row, too.

    That of greatest covering plus PRI less a quarter of VoI, each at its best scale.
    """
    n = found.shape[1]
    means, each, times = [], np.zeros((n, 3)), np.zeros((n, 1))
    for one, other in halves(n, halvings):
        tuned = [pooled(row[one]) for row in found]
        bests = [values[best_scales(values), range(3)] for values in tuned]
        best = int(np.argmax([covering + pri - voi / 4 for covering, voi, pri in bests]))
        scales = best_scales(tuned[best])
        means.append(pooled(found[best][other])[scales, range(3)])
        each[other] += found[best][other][:, scales, range(3)]
        times[other] += 1
    return np.mean(means, axis=0), each / np.maximum(times, 1)


def gains(held: tuple[NdArray, NdArray], before: NdArray) -> dict[str, Any]:
    """What `held_out` gives, and what photographs gain [3] over others [N, 3], as lists."""
    measures, each = held
    gain = each - before
    return {
        "held out": measures.tolist(),
        "gain": gain.mean(axis=0).tolist(),
        "error": (gain.std(axis=0, ddof=1) / math.sqrt(len(gain))).tolist(),
    }


def halves(n: int, halvings: int) -> Iterator[tuple[NdArray, NdArray]]:
    """Which of n photographs choose, and which are measured: each half by the other."""
    for seed in range(halvings):
        order = np.random.default_rng(seed).permutation(n)
        yield order[: n // 2], order[n // 2 :]
        yield order[n // 2 :], order[: n // 2]


def best_scales(pooled: NdArray) -> NdArray:
    """Which scale is best, of measures [S, 3], for each."""
    return np.array([pooled[:, 0].argmax(), pooled[:, 1].argmin(), pooled[:, 2].argmax()])


def pooled(found: NdArray) -> NdArray:
    """Of photographs [N, S, 4] the three measures [S, 3]; see `experiments.metrics.pooled`."""
    pixels = found[:, :1, 3]
    covering = (found[:, :, 0] * pixels).sum(axis=0) / pixels.sum()
    return np.column_stack([covering, found[:, :, 1:3].mean(axis=0)])


def study(found: NdArray, halvings: int) -> dict[str, Any]:
    """The figures of each of the `CUES`, of agreements [C, N, S, 4]."""
    figures = {}
    _, before = held_out(found[0], halvings)
    for name, one in zip(CUES, found, strict=True):
        tuned = pooled(one)
        scales = best_scales(tuned)
        figures[name] = {
            **gains(held_out(one, halvings), before),
            "tuned on all": tuned[scales, range(3)].tolist(),
            "scales": SCALES[scales].tolist(),
            "at each scale": tuned.tolist(),
        }
    return figures


def measured(photograph: Path, truths: Sequence[NdArray]) -> list[NdArray]:
    """What `agreements` says of the tree by each of the `CUES` [C, S, 4]."""
    return [agreements(tree, truths) for tree in trees_of(photograph)]


def options_of(description: str | None, halvings: int, arguments: Sequence[str] | None) -> Any:
    """The options of a study of merging."""
    parser = argparse.ArgumentParser(description=(description or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--limit", type=int, help="of photographs")
    parser.add_argument("--halvings", type=int, default=halvings)
    parser.add_argument("--json", type=Path)
    return parser.parse_args(arguments)


def run(
    options: Any,
    measured: Callable[[Path, Sequence[NdArray]], Any],
    study: Callable[[NdArray, int], dict[str, Any]],
    columns: Sequence[str],
    more: Callable[[dict[str, Any]], Sequence[str]] = lambda figures: (),
    **about: Any,
) -> int:
    """Run a study, and print a table.

    Args:
        options: see `options_of`.
        measured: agreements [C, S, 4] of a photograph with what people drew.
        study: figures of each row, of agreements [C, N, S, 4] and a number of halvings.
        columns: the heads of the first, and of those after what was held out.
        more: the cells of these.
        about: what else the file of figures says.
    """
    pairs = photographs(options.data)[: options.limit]
    if len(pairs) < 2:
        print(f"nothing to measure in {options.data}")
        return 0
    _runtime.prepare()
    rows = []
    for photograph, drawn in pairs:
        with np.load(drawn) as file:
            rows.append(measured(photograph, list(file["segmentations"])))
    figures = study(np.array(rows).swapaxes(0, 1), options.halvings)
    heads = [columns[0], "covering", "VoI (bits)", "PRI", *columns[1:]]
    print(f"{len(pairs)} photographs\n")
    print(f"| {' | '.join(heads)} |")
    print(f"|{' --- |' * len(heads)}")
    for name, one in figures.items():
        cells = [
            f"{value:.3f} ({gain:+.3f} ± {error:.3f})"
            for value, gain, error in zip(one["held out"], one["gain"], one["error"], strict=True)
        ]
        print(f"| {' | '.join([name, *cells, *more(one)])} |")
    if options.json is not None:
        content = {"photographs": len(pairs), **about, "figures": figures}
        options.json.write_text(json.dumps(content, indent=2) + "\n")
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the study of cues, and print a table."""
    options = options_of(__doc__, 10, arguments)

    def more(figures: dict[str, Any]) -> Sequence[str]:
        tuned = " / ".join(f"{value:.3f}" for value in figures["tuned on all"])
        return tuned, ", ".join(f"{value:.1f}" for value in figures["scales"])

    columns = "merged by", "tuned on all", "scales"
    return run(options, measured, study, columns, more, scales=SCALES.tolist())


if __name__ == "__main__":
    raise SystemExit(main())
