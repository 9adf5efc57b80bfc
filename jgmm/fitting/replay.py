"""EM from a start, with what it had reached on the way: for those who want to watch it."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt
from jax.typing import ArrayLike

from jgmm._status import Status, unheard
from jgmm.fitting.fitting import fit
from jgmm.mixture.mixture import Mixture


@dataclasses.dataclass(frozen=True)
class Replay:
    """Plain EM from one start: the whole learning curve, and the mixtures at some of its steps."""

    mixtures: list[Mixture]
    steps: list[int]  # after how many each of them was reached, the first after none
    history: npt.NDArray[Any]  # mean nats per pixel: of the start, and after every step


def replay(
    pixels: ArrayLike, k: int, *, n_kept: int = 36, max_iter: int = 200, **options: Any
) -> Replay:
    """Plain EM (Dempster, Laird and Rubin 1977) from a start by name, kept as it goes on.

    It is run again for this: `jgmm.fit` keeps one mixture, and gets to it by a search and by
    extrapolated steps, so that what happens there is no sequence of steps of EM. Step by step the
    mixture depends on the one before alone; so the steps are taken a few at a time, each lot from
    the mixture that was kept last.

    Args:
        pixels: [..., D].
        k: the number of components.
        n_kept: mixtures that are kept, at most; many of the first steps, few of the last.
        max_iter: steps at most.
        options: of `jgmm.fit`: the key, weights, a start by name, the tolerance and so on.

    Example:
        >>> import numpy as np
        >>> found = replay(np.array([[0.0], [1.0], [10.0], [11.0]], np.float32), 2, tol=1e-6)
        >>> found.steps[0], len(found.history) == found.steps[-1] + 1
        (0, True)
    """
    plain = {"search": "none", "short_runs": False, "accelerate": False}
    marks = np.unique(np.round(np.geomspace(1, max_iter + 1, n_kept)).astype(int) - 1).tolist()
    with unheard():
        at = fit(pixels, k, **{**options, **plain, "max_iter": 0})
        kept, steps, history = [at.mixture], [0], at.learning_curve.tolist()
        for mark in marks[1:]:
            more = {"init": at.mixture, "max_iter": mark - steps[-1]}
            at = fit(pixels, k, **{**options, **plain, **more})
            curve = at.learning_curve
            if len(curve) > 1:
                kept.append(at.mixture)
                steps.append(steps[-1] + len(curve) - 1)
                history += curve[1:].tolist()
            if at.status != Status.MAX_ITER:
                break
    return Replay(kept, steps, np.asarray(history))
