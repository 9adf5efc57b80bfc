"""The result of a fit."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax import Array

from jgmm import _checks
from jgmm._status import Status, raise_for_status
from jgmm._struct import Shown, Table, number, struct, values_known
from jgmm.data.arrays import module_of
from jgmm.data.programs import on_host
from jgmm.em.curve import curve_svg, learning_curve
from jgmm.mixture import shown
from jgmm.mixture.components import by_weight, take
from jgmm.mixture.criteria import criteria_of, n_parameters
from jgmm.mixture.mixture import Mixture


@struct
class FitResult(Shown):
    """The result of `fit`: the best mixture met, and the way there.

    Log-likelihoods and objectives are means in nats per (weighted) pixel, in the units of the
    data. The objective is what was maximised: the log-likelihood, or with a prior the logarithm
    of the posterior density up to a constant.

    Attributes:
        mixture: the best `Mixture` met, in the units of the data.
        log_likelihood: of this mixture [].
        objective: of this mixture []; restarts are compared by it.
        history: the objective of the start, after the stages of a search, and after every step
            [max_iter + 1], NaN after the last; `learning_curve` is without those.
        n_iter: stages of a search, which are many passes over the data each, and steps, which are
            one pass over all pixels each, together []. Passes over a subsample are not counted.
        status: how it ended [], a `Status` as int32.
        weight: of all pixels together [], their number if they have no weights; None if unknown.
        at_floor: which components ``reg_covar`` alone keeps from collapsing [K], because some
            direction is flat in them: as a few equal pixels are, or a sky without noise. None if
            unknown.

    Likelihoods compare only under the same floor, and hardly where components are at it: with d
    flat directions, each of its pixels is log(10) d / 2 = 1.15 d nats likelier under a tenth of
    the floor, which says nothing of the fit.

    Example:
        >>> import jgmm
        >>> result = jgmm.fit([[0.0], [1.0], [10.0], [11.0]], 2, init=[[0.0], [10.0]])
        >>> result
        FitResult of 2 full components in 1 dimension
          log-likelihood     BIC  steps     status
                -1.41894  18.283      4  CONVERGED
          component  weight  mean 0
                  0     0.5     0.5
                  1     0.5    10.5
    """

    mixture: Mixture
    log_likelihood: Array
    objective: Array
    history: Array
    n_iter: Array
    status: Array
    weight: Array | None = None
    at_floor: Array | None = None

    def raise_for_status(self) -> None:
        """Raise a RuntimeError that says what to do, unless converged."""
        raise_for_status(self.status)

    @property
    def learning_curve(self) -> npt.NDArray[Any]:
        """The history without its padding [n_iter + 1], on the host."""
        return learning_curve(self.history, self.n_iter)

    @property
    def bic(self) -> Array:
        """The Bayesian information criterion []; see `jgmm.bic`. NaN if `weight` is unknown."""
        return self._criterion("bic")

    @property
    def aic(self) -> Array:
        """Akaike's information criterion []; see `jgmm.aic`. NaN if `weight` is unknown."""
        return self._criterion("aic")

    def _criterion(self, name: str) -> Array:
        if self.weight is None:
            return jnp.full_like(self.log_likelihood, jnp.nan)
        fit: Any = jax.device_get(self) if on_host(self) else self  # where nothing is compiled
        total = fit.log_likelihood * fit.weight
        parameters = n_parameters(fit.mixture)
        criteria = criteria_of(total, parameters, fit.weight, module_of(total).zeros_like(total))
        return _checks.as_array(criteria[name])

    def summary(self) -> Table:
        """All weights, means and standard deviations, as a table to print."""
        how, what = self._tables(whole=True)
        ended = ", ".join(
            f"{name} {value}" for name, value in zip(how.columns, how.rows[0], strict=True)
        )
        return dataclasses.replace(what, title=f"{how.title}: {ended}")

    def _showable(self) -> bool:
        scalar = np.ndim(self.log_likelihood) == np.ndim(self.n_iter) == 0
        return values_known(self) and scalar and shown.showable(self.mixture)

    def _tables(self, *, whole: bool = False) -> tuple[Table, Table]:
        columns, values = ["log-likelihood"], [number(self.log_likelihood, 6)]
        if abs(float(self.objective) - float(self.log_likelihood)) > 0:
            columns.append("objective")
            values.append(number(self.objective, 6))
        columns += ["BIC", "steps", "status"]
        values += [number(self.bic, 6), str(int(self.n_iter)), Status(int(self.status)).name]
        title = f"FitResult of {shown.kind(self.mixture)}"
        parts = shown.component_table(self.mixture, whole=whole)
        notes = [*parts.notes, *floor_notes(self.at_floor)]
        return Table(title, columns, [values]), dataclasses.replace(parts, notes=notes)

    def _picture(self) -> str:
        return curve_svg({"objective": self.learning_curve.tolist()})


def floor_notes(at_floor: npt.ArrayLike | None, of: str = "") -> list[str]:
    """What a table says of the components that are at the floor [K]: a line, or none."""
    flat = [] if at_floor is None else np.flatnonzero(at_floor).tolist()
    return [f"  {of}at the floor of the variances: {', '.join(map(str, flat))}"] if flat else []


def quantity_of(fits: Iterable[FitResult]) -> str:
    """What histories are of: the likelihood, unless something else was maximised."""
    plain = all(float(fit.objective) == float(fit.log_likelihood) for fit in fits)
    return "mean log-likelihood" if plain else "objective"


def of_components(result: FitResult, index: Any) -> FitResult:
    """The result with some of its components, in the order of ``index``: indices or a slice."""
    at_floor = None if result.at_floor is None else result.at_floor[index]
    return dataclasses.replace(result, mixture=take(result.mixture, index), at_floor=at_floor)


def with_largest_first(result: FitResult) -> FitResult:
    """The result, or results [...], with components in order of decreasing weight."""
    at_floor, weights = result.at_floor, result.mixture.weights
    if at_floor is not None:
        xp = module_of(weights)
        order = xp.argsort(-weights, axis=-1, stable=True)
        at_floor = xp.take_along_axis(at_floor, order, axis=-1)
    return dataclasses.replace(result, mixture=by_weight(result.mixture), at_floor=at_floor)
