"""The result of a variational fit."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax import Array

from jgmm import _checks
from jgmm._status import Status, raise_for_status
from jgmm._struct import Shown, Table, amend, number, struct, values_known
from jgmm.data.arrays import module_of
from jgmm.em.curve import curve_svg, learning_curve
from jgmm.em.prior import Prior
from jgmm.mixture import shown
from jgmm.mixture.mixture import Mixture
from jgmm.variational.posterior import VariationalPosterior


@struct
class VariationalResult(Shown):
    """The result of `fit_variational`: a posterior, and the way there.

    Bounds are means in nats per (weighted) pixel, in the units of the data. Where a function takes
    a mixture it takes the result too, for its `mixture`; `predictive_log_prob` takes all of it.

    Attributes:
        posterior: the `VariationalPosterior`, components with most pixels first.
        prior: that was asked for, or made to suit the data; in the units of the data.
        lower_bound: the evidence bound []: at most the logarithm of the density of all pixels
            under the prior, over their weight.
        history: the bound of the start and after every step [max_iter + 1]; NaN after the last.
        n_iter: steps [], each a pass over all pixels.
        status: how it ended [], a `Status` as int32.
        weight: of all pixels together [].
        counts: the pixels that each component explains [K], in all ``weight``.

    Example:
        >>> import jax, jgmm
        >>> pixels = jax.random.normal(jax.random.key(1), (1000, 2)).at[500:].add(20.0)
        >>> jgmm.fit_variational(pixels, 4)
        VariationalResult of 4 full components (2 of weight 0) in 2 dimensions
          lower bound  steps     status
             -3.84833     40  CONVERGED
          component  weight   mean 0    mean 1
                  0  0.5005    19.99     19.93
                  1  0.4995  0.01867  -0.03505
    """

    posterior: VariationalPosterior
    prior: Prior
    lower_bound: Array
    history: Array
    n_iter: Array
    status: Array
    weight: Array
    counts: Array

    @property
    def in_use(self) -> Array:
        """Which components explain half a pixel or more [K]; the others are switched off."""
        return self.counts >= 0.5

    @property
    def n_in_use(self) -> Array:
        """How many components are in use []."""
        return jnp.sum(self.in_use, axis=-1)

    @property
    def mixture(self) -> Mixture:
        """Mean weights, means and inverses of mean precisions; weight 0 where switched off."""
        concrete = _checks.all_concrete(self)
        posterior, used = self.posterior, self.in_use
        if concrete:  # on the host, where nothing is compiled
            posterior, used = jax.device_get((posterior, used))
        xp = module_of(posterior.means)
        mixture = posterior.mixture(xp.ones_like(used))
        weights = xp.where(used, mixture.weights, 0)
        total = weights.sum(-1, keepdims=True)
        mixture = amend(mixture, weights=weights / xp.where(total > 0, total, 1))
        return jax.tree.map(_checks.as_array, mixture) if concrete else mixture

    def raise_for_status(self) -> None:
        """Raise a RuntimeError that says what to do, unless converged."""
        raise_for_status(self.status)

    @property
    def learning_curve(self) -> npt.NDArray[Any]:
        """The history without its padding [n_iter + 1], on the host."""
        return learning_curve(self.history, self.n_iter)

    def summary(self) -> Table:
        """All weights, means and standard deviations, as a table to print."""
        how, what = self._tables(whole=True)
        ended = ", ".join(f"{n} {v}" for n, v in zip(how.columns, how.rows[0], strict=True))
        return dataclasses.replace(what, title=f"{how.title}: {ended}")

    def _showable(self) -> bool:
        return values_known(self) and np.ndim(self.lower_bound) == 0

    def _tables(self, *, whole: bool = False) -> tuple[Table, Table]:
        mixture, used = self.mixture, np.asarray(self.in_use)
        parts = shown.component_table(mixture, whole=whole)
        kept = [i for i, row in enumerate(parts.rows) if used[int(row[0])]]
        parts = dataclasses.replace(
            parts,
            rows=[parts.rows[i] for i in kept],
            swatches=[parts.swatches[i] for i in kept] if parts.swatches else (),
        )
        values = (number(self.lower_bound, 6), str(int(self.n_iter)), Status(int(self.status)).name)
        title = f"VariationalResult of {shown.kind(mixture)}"
        return Table(title, ("lower bound", "steps", "status"), [values]), parts

    def _picture(self) -> str:
        return curve_svg({"lower bound": self.learning_curve.tolist()})
