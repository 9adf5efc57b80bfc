"""How the step in colour at a border enters what merging costs, measured on held-out photographs.

    python -m experiments.merging_steps --data DIR [--json FILE]

As `experiments.merging_cues`, with both cues: along a border a power of the steps is averaged (2 is
the root mean square, as it was, 0.5 what jgmm takes), and what this comes to has a power in the
cost. Each row has scales that the other half chose; the last one has the row, too, that was best
there: of greatest covering plus PRI less a quarter of VoI, each at its best scale.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import numpy.typing as npt

from experiments.merging_cues import agreements, chosen, gains, held_out, options_of, run, unmerged
from jgmm.image.hierarchy import tree_of
from jgmm.image.merging import Graph

NdArray = npt.NDArray[Any]
STEPS = list(itertools.product((2.0, 1.0, 0.5), (1.0, 1.25, 1.5, 1.75)))  # the first is as it was


def measured(photograph: Path, truths: Sequence[NdArray]) -> NdArray:
    """What `agreements` says of the tree of each of the `STEPS` [C, S, 4]."""
    found, colours, cues = unmerged(photograph)
    rows = []
    for averaged, power in STEPS:
        with mock.patch.multiple(Graph, averaged=averaged, power=power):
            tree = tree_of(found.parts, colours, found.setup.spatial.min_region, cues)
        rows.append(agreements(tree, truths))
    return np.array(rows)


def study(found: NdArray, halvings: int) -> dict[str, Any]:
    """The figures of each of the `STEPS`, and of the one that is chosen, of [C, N, S, 4]."""
    _, before = held_out(found[0], halvings)
    names = [f"power {power:g}, mean of powers of {averaged:g}" for averaged, power in STEPS]
    rows = [held_out(one, halvings) for one in found]
    return {
        name: gains(held, before)
        for name, held in zip(
            [*names, "chosen on the other half"], [*rows, chosen(found, halvings)], strict=True
        )
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the study of steps, and print a table."""
    options = options_of(__doc__, 30, arguments)
    return run(options, measured, study, ["step"], halvings=options.halvings)


if __name__ == "__main__":
    raise SystemExit(main())
