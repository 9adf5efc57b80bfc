"""The fits of a run, which of them is chosen, and what is written down about them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jgmm.cli import summary
from jgmm.cli.fits import Monitor, fits_of
from jgmm.cli.options import Options
from jgmm.em.result import FitResult
from jgmm.fitting.choice import choose, explain
from jgmm.fitting.sweeps import SweepResult
from jgmm.image.samples import Samples


@dataclasses.dataclass(frozen=True)
class Fitted:
    """The fits of all k that were offered, and which of them is chosen."""

    sweep: SweepResult
    seconds: dict[int, float]  # of each k, the longest of its restarts
    rule: str
    because: str
    chosen: int
    found: tuple[int, ...]  # all k
    ks: tuple[int, ...]  # that are shown

    def content(self, fits: Mapping[int, FitResult], options: Options) -> dict[str, Any]:
        """What `summary.json` says of them; ``fits`` has those of the ``ks``, as they are shown."""
        return {
            "features": options.features,
            "seed": options.seed,
            "options": summary.options_summary(options),
            "versions": summary.versions(),
            "chosen_k": self.chosen,
            "chosen_by": self.rule,
            "chosen_because": self.because,
            "chosen_from": summary.candidates(self.sweep),
            "fits": [
                summary.fit_summary(self.sweep, k, fits[k], self.seconds[k], options.noise_model)
                for k in self.ks
            ],
        }


def fit_all(
    name: Path, samples: Samples, offered: Sequence[int], options: Options, monitor: Monitor
) -> Fitted:
    """Fit every k, and choose; see `jgmm.cli.fits.fits_of`."""
    result, seconds = fits_of(name, samples, offered, options, monitor)
    found = tuple(np.asarray(result.n_components).tolist())
    rule = options.choose_by or ("bic" if options.ks else options.spatial.rule)
    chosen = choose(result, rule)
    because = explain(result, rule)
    if options.bayes and len(found) == 1:
        rule, because = "bayes", f"in use of {offered[-1]} by variational Bayes"
    ks = found if options.ks else (chosen,)
    return Fitted(result, seconds, rule, because, chosen, found, ks)
