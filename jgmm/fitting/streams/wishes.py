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
from jgmm.em.prior import Prior
from jgmm.families.distribution import GAUSSIAN, Distribution
from jgmm.families.distributions import chosen
from jgmm.families.family import Family
from jgmm.families.table import family_of
from jgmm.fitting.given import read as read_init
from jgmm.fitting.options import SEARCHES, Choices
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
    options = (
        *(choices.key, choices.init, choices.tol, choices.reg_covar, choices.prior),
        choices.degrees_of_freedom,
    )
    if _checks.in_program() or not _checks.all_concrete(options):
        raise TypeError(
            "fit_stream: expected values, got tracers: it reads its source on the host, outside of "
            "traces; `fit` works inside"
        )
    family = family_of(choices.covariance_type)
    dtype = np.dtype(jnp.result_type(float))
    distribution, _ = chosen(choices.distribution, choices.degrees_of_freedom, dtype)
    n_restarts = _checks.as_count("n_restarts", choices.n_restarts)
    max_iter = _checks.as_count("max_iter", choices.max_iter, minimum=0)
    if passes is not None:
        if family.sketched:
            raise ValueError(
                f"passes: expected None with {family.name}, whose statistics of different mixtures "
                f"do not add up, got {passes}"
            )
        passes = _checks.as_count("passes", passes)
        if max_iter != _MAX_ITER:
            raise ValueError(f"max_iter: expected {_MAX_ITER} with passes, got {max_iter}")
        if not choices.accelerate:
            raise ValueError("accelerate: expected True with passes, which take no full steps")
        if choices.prior is not None:
            raise ValueError("prior: expected None with passes")
        if distribution != GAUSSIAN:
            raise ValueError(
                f"distribution: expected 'gaussian' with passes, got '{distribution.name}', which "
                "full steps fit"
            )
    chunk = None if chunk is None else _checks.as_count("chunk", chunk)
    _checks.one_of("search", choices.search, SEARCHES)
    _checks.one_of("missing", choices.missing, ("error", "nan"))
    if choices.order is not None:
        _checks.one_of("order", choices.order, ("weight",))
    prior = choices.prior
    if isinstance(prior, str):
        _checks.one_of("prior", prior, ("weak",))
    elif not isinstance(prior, Prior | None):
        raise TypeError(f"prior: expected a Prior, 'weak' or None, got {type(prior).__name__}")
    _checks.as_nonnegative("tol", choices.tol, dtype)
    reg_covar = _checks.as_nonnegative("reg_covar", choices.reg_covar, dtype)
    _checks.all_or_none("reg_covar", reg_covar)
    init = _as_init(choices.init, k, family, distribution)
    if n_restarts > 1 and not isinstance(init, str):
        raise ValueError(f"n_restarts: expected 1 with an init that is given, got {n_restarts}")
    prng_key = _checks.as_key(choices.key)
    if prng_key.shape != ():
        raise ValueError(f"key: expected one key, got shape {prng_key.shape}")
    choices = dataclasses.replace(
        choices,
        key=prng_key,
        init=init,
        covariance_type=family,
        n_restarts=n_restarts,
        max_iter=max_iter,
    )
    return Wishes(
        source=as_source(source),
        k=k,
        key=prng_key,
        family=family,
        init=init,
        choices=choices,
        passes=passes,
        chunk=chunk,
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
