"""How the step in colour at a border enters what merging costs, measured on held-out photographs.

    python -m experiments.merging_steps --data DIR [--json FILE]

As `experiments.merging_cues`, with both cues: along a border a power of the steps is averaged (2 is
the root mean square, as it was, 0.5 what jgmm takes), and what this comes to has a power in the
cost. Each row has scales that the other half chose; the last one has the row, too, that was best
there: of greatest covering plus PRI less a quarter of VoI, each at its best scale.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import numpy.typing as npt

import jgmm
from experiments.merging_cues import agreements, best_scales, halves, held_out, pooled
from experiments.segmentation_quality import DATA, photographs
from jgmm.cli import runtime as _runtime
from jgmm.image import RECOMMENDED, read_image
from jgmm.image.hierarchy import tree_of
from jgmm.image.merging import Graph
from jgmm.image.samples import samples_of
from jgmm.image.trees import described

NdArray = npt.NDArray[Any]
STEPS = list(itertools.product((2.0, 1.0, 0.5), (1.0, 1.25, 1.5, 1.75)))  # the first is as it was


def measured(photograph: Path, truths: Sequence[NdArray]) -> NdArray:
    """What `agreements` says of the tree of each of the `STEPS` [C, S, 4]."""
    settings = dict(RECOMMENDED) | {"merge": 0.0}
    found = jgmm.segment(photograph, 10, **settings)
    samples = samples_of(read_image(photograph), found.setup.recipe)
    inside = found.parts >= 0
    colours, cues = described(found.original, inside, found.fit.mixture, samples)
    rows = []
    for averaged, power in STEPS:
        with mock.patch.multiple(Graph, averaged=averaged, power=power):
            tree = tree_of(found.parts, colours, found.setup.spatial.min_region, cues)
        rows.append(agreements(tree, truths))
    return np.array(rows)


def chosen(found: NdArray, halvings: int) -> tuple[NdArray, NdArray]:
    """As `held_out` [3] and [N, 3], of agreements [C, N, S, 4]: rows are chosen by halves, too."""
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


def study(found: NdArray, halvings: int) -> dict[str, Any]:
    """The figures of each of the `STEPS`, and of the one that is chosen, of [C, N, S, 4]."""
    _, before = held_out(found[0], halvings)
    names = [f"power {power:g}, mean of powers of {averaged:g}" for averaged, power in STEPS]
    rows = [held_out(one, halvings) for one in found]
    figures = {}
    for name, (measures, each) in zip(
        [*names, "chosen on the other half"], [*rows, chosen(found, halvings)], strict=True
    ):
        gain = each - before
        error = gain.std(axis=0, ddof=1) / math.sqrt(len(gain))
        figures[name] = {
            "held out": measures.tolist(),
            "gain": gain.mean(axis=0).tolist(),
            "error": error.tolist(),
        }
    return figures


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the study, and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--limit", type=int, help="of photographs")
    parser.add_argument("--halvings", type=int, default=30)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
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
    print(f"{len(pairs)} photographs\n")
    print("| step | covering | VoI (bits) | PRI |")
    print("| --- | --- | --- | --- |")
    for name, one in figures.items():
        cells = [
            f"{value:.3f} ({gain:+.3f} ± {error:.3f})"
            for value, gain, error in zip(one["held out"], one["gain"], one["error"], strict=True)
        ]
        print(f"| {name} | {' | '.join(cells)} |")
    if options.json is not None:
        content = {"photographs": len(pairs), "halvings": options.halvings, "figures": figures}
        options.json.write_text(json.dumps(content, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
