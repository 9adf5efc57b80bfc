"""What callers of fits of streams may choose, read and checked before the first pass."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jgmm import _checks
from jgmm.data.streams.sources import Source, as_source
from jgmm.families.distribution import GAUSSIAN, Distribution
from jgmm.families.distributions import chosen
from jgmm.families.family import Family
from jgmm.families.table import family_of
from jgmm.fitting.choices import Choices, checked
from jgmm.fitting.given import read as read_init
from jgmm.fitting.options import as_floor, stop_of
from jgmm.mixture.mixture import Mixture, as_mixture

_MAX_ITER = 500  # of `fit_stream` where a caller does not say
_SAMPLED = 1 << 17  # samples that are drawn in the first pass, or ...
_FOR_EACH = 20  # ... so many for each parameter


@dataclasses.dataclass(frozen=True)
class Wishes:
    """What was asked for."""

    source: Source
    k: int
    key: Array
    family: Family
    distribution: Distribution
    init: Any  # a name, a Mixture or means [K, D]
    choices: Choices  # of the fit to the sample
    passes: int | None  # of stepwise EM; None for full steps
    chunk: int | None

    @property
    def given(self) -> bool:
        """Whether the start is given."""
        return isinstance(self.init, Mixture)

    @property
    def incomplete(self) -> bool:
        """Whether features that are NaN were not observed."""
        return self.choices.missing == "nan"

    @property
    def n_sampled(self) -> int:
        """How many samples the start, or the prior, need."""
        if self.given and not isinstance(self.choices.prior, str):
            return 0
        return _SAMPLED

    def enough(self, d: int) -> int:
        """How many determine the parameters for D features."""
        parameters = self.k * (d + 1) + self.family.n_parameters(self.k, d)
        return max(_SAMPLED, _FOR_EACH * parameters)


def read(
    source: Any,
    k: int,
    choices: Choices,
    *,
    passes: int | None,
    chunk: int | None,
) -> Wishes:
    """Check what can be checked without the data.

    Raises:
        TypeError: an argument of the wrong type, or traced.
        ValueError: an argument that is not what was expected.
    """
    _refuse_traced(choices)
    asked = checked(choices)
    family = family_of(choices.covariance_type)
    dtype = np.dtype(jnp.result_type(float))
    distribution, _ = chosen(choices.distribution, choices.degrees_of_freedom, dtype)
    if passes is not None:
        passes = _checks.as_count("passes", passes)
        _expect_stepwise(passes, choices, family, distribution)
    stop_of(choices.tol, asked.max_iter, dtype)
    as_floor(choices.reg_covar, dtype)
    init = _as_init(choices.init, k, family, distribution)
    asked.expect_starts(isinstance(init, str))
    return Wishes(
        source=as_source(source),
        k=k,
        key=asked.key,
        family=family,
        distribution=distribution,
        init=init,
        choices=dataclasses.replace(
            choices,
            key=asked.key,
            init=init,
            covariance_type=family,
            n_restarts=asked.n_restarts,
            max_iter=asked.max_iter,
        ),
        passes=passes,
        chunk=None if chunk is None else _checks.as_count("chunk", chunk),
    )


def _refuse_traced(choices: Choices) -> None:
    options = (
        *(choices.key, choices.init, choices.tol, choices.reg_covar, choices.prior),
        choices.degrees_of_freedom,
    )
    if _checks.in_program() or not _checks.all_concrete(options):
        raise TypeError(
            "fit_stream: expected values, got tracers: it reads its source on the host, outside of "
            "traces; `fit` works inside"
        )


def _expect_stepwise(
    passes: int, choices: Choices, family: Family, distribution: Distribution
) -> None:
    """Refuse what stepwise EM does not do."""
    if family.sketched:
        raise ValueError(
            f"passes: expected None with {family.name}, whose statistics of different mixtures "
            f"do not add up, got {passes}"
        )
    if choices.max_iter != _MAX_ITER:
        raise ValueError(f"max_iter: expected {_MAX_ITER} with passes, got {choices.max_iter}")
    if not choices.accelerate:
        raise ValueError("accelerate: expected True with passes, which take no full steps")
    if choices.prior is not None:
        raise ValueError("prior: expected None with passes")
    if distribution != GAUSSIAN:
        raise ValueError(
            f"distribution: expected 'gaussian' with passes, got '{distribution.name}', which "
            "full steps fit"
        )


def _as_init(init: Any, k: int, family: Family, distribution: Distribution) -> Any:
    """A name, a Mixture of k components of the family, or means."""
    if isinstance(init, str):
        return read_init(init, k, (1, 1), family, np.float32).kind
    if dataclasses.is_dataclass(init):
        mixture: Mixture = jax.device_get(as_mixture(init, "init"))
        shape, dtype = (1, mixture.n_features), mixture.means.dtype
        read_init(mixture, k, shape, family, dtype, distribution=distribution)
        return mixture
    means = np.asarray(init)
    if means.ndim != 2 or len(means) != k or means.dtype.kind not in "iuf":
        raise ValueError(
            f"init: expected a name, a Mixture, the result of a fit or means ({k}, D), got "
            f"{means.dtype} {means.shape}; labels and responsibilities of samples are for `fit`"
        )
    return means
