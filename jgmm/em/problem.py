"""The problem that a fit solves: samples, their frame, a floor, a prior and a family.

It knows the EM map and the objective that EM climbs, and the way back to the units of the data.
Everything that fits a mixture asks it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

import jax.numpy as jnp
from jax import Array, lax

from jgmm._struct import amend, struct
from jgmm.data.compensated import Compensated, plus
from jgmm.data.fold import total_weight
from jgmm.data.frame import Frame, measure
from jgmm.data.frame import standardize as standardize_samples
from jgmm.data.samples import Samples
from jgmm.em import prior as priors
from jgmm.em.fisher import complete
from jgmm.em.maximisation import maximisation
from jgmm.em.prior import Prior
from jgmm.em.statistics import Elsewhere, SufficientStats, Told, expectation, observed_shares
from jgmm.families.distribution import GAUSSIAN, Distribution
from jgmm.families.family import Family
from jgmm.families.floor import Floor, Ridge
from jgmm.mixture.mixture import Mixture, standardize, unstandardize
from jgmm.mixture.posterior import judgement

T = TypeVar("T", bound=Samples | Elsewhere | Told | None)
if TYPE_CHECKING:  # Python takes a default from 3.13 on
    S_co = TypeVar("S_co", default=Samples, covariant=True)
else:
    S_co = TypeVar("S_co", covariant=True)


@struct
class Problem(Generic[S_co]):
    """What is to be fitted, in a frame where every feature is of order one.

    Of a stream the samples are `Elsewhere`; of the one mixture that a pass over them was made under
    a problem with what that `Told` knows step and objective. One without any goes from device to
    device, where samples are put in.
    """

    samples: S_co
    weight: Array  # [], of all samples
    frame: Frame
    floor: Floor | Ridge
    prior: Prior | None
    family: Family
    distribution: Distribution = GAUSSIAN
    degrees_of_freedom: Array | None = None  # [], where components begin, or stay

    @property
    def start_floor(self) -> Floor:
        """The floor for a start: not even one with a prior may collapse, which needs none later."""
        floor = self.floor.variances
        if self.prior is not None:
            floor = jnp.maximum(floor, 1e-3 * jnp.diagonal(self.prior.scale))
        return Floor(variances=floor)

    def on(self, samples: T) -> Problem[T]:
        """The same of other samples in the frame, that weigh as much; None leaves them out."""
        fields: dict[str, Any] = {**vars(self), "samples": samples}
        return Problem(**fields)

    def step(self: Problem[Samples | Told], mixture: Mixture) -> tuple[Mixture, Compensated[Array]]:
        """The EM map: the successor of a mixture, and the objective of the mixture itself."""
        stats, log_likelihood = expectation(mixture, self.samples)
        following = maximisation(mixture, stats, self.family, self.floor, self.prior)
        return following, self._with_prior(mixture, stats, log_likelihood)

    def evaluate(self: Problem[Samples | Told], mixture: Mixture) -> Compensated[Array]:
        """The objective: the log-likelihood, and with a prior its log-density, per weight."""
        stats, log_likelihood = expectation(mixture, self.samples)
        return self._with_prior(mixture, stats, log_likelihood)

    def objective(self: Problem[Samples | Told], mixture: Mixture) -> Array:
        """The objective, with the gradient that one E-step gives."""
        here = lax.stop_gradient(mixture)
        stats, log_likelihood = expectation(here, self.samples)
        slope = complete(mixture, here, stats) / jnp.sum(stats.counts)
        value = log_likelihood.rounded() + (slope - lax.stop_gradient(slope))
        if self.prior is None:
            return value
        return value + priors.log_density(self.prior, mixture) / jnp.sum(stats.counts)

    def _with_prior(
        self, mixture: Mixture, stats: SufficientStats, log_likelihood: Compensated[Array]
    ) -> Compensated[Array]:
        if self.prior is None:
            return log_likelihood
        return plus(log_likelihood, priors.log_density(self.prior, mixture) / jnp.sum(stats.counts))

    def standardize(self, mixture: Mixture) -> Mixture:
        """A mixture of the data in the frame, and no smaller than the floor."""
        inside = standardize(mixture, self.frame)
        covariances = self.start_floor.under(inside.family, inside.covariances)
        return amend(inside, covariances=covariances)

    def distributed(self, start: Mixture) -> Mixture:
        """A start of components as the problem has them."""
        dof = self.degrees_of_freedom
        if dof is not None:
            dof = jnp.broadcast_to(dof, start.weights.shape)
        return amend(start, distribution=self.distribution, degrees_of_freedom=dof)

    def unstandardize(self, mixture: Mixture) -> Mixture:
        """A mixture in the frame in the units of the data."""
        return unstandardize(mixture, self.frame)

    def log_likelihood(
        self: Problem[Samples | Elsewhere], mixture: Mixture, objective: Array
    ) -> Array:
        """The log-likelihood in the units of the data, from the objective in the frame."""
        if self.prior is not None:
            objective = objective - priors.log_density(self.prior, mixture) / self.weight
        return objective - self._volume()

    def in_data_units(
        self: Problem[Samples | Elsewhere], mixture: Mixture, objective: Array
    ) -> Array:
        """Objectives near that of a mixture in the frame, in the units of the data."""
        if self.prior is not None:
            lost = priors.volumes(self.prior, mixture) / self.weight
            objective = objective - lost * jnp.sum(jnp.log(self.frame.scale))
        return objective - self._volume()

    def entropy(self: Problem[Samples], mixture: Mixture) -> Array:
        """The sum over samples of the entropy of the responsibilities of a mixture of the data."""
        return judgement(standardize(mixture, self.frame), self.samples)[2]

    def _volume(self: Problem[Samples | Elsewhere]) -> Array:
        """In the data's units a density is smaller by the volume of the frame's unit cell."""
        logs = jnp.log(self.frame.scale)
        shares = observed_shares(self.samples)
        return jnp.sum(logs if shares is None else logs * shares)


def pose(
    raw: Samples,
    family: Family,
    floor: Array,
    prior: Prior | None = None,
    distribution: Distribution = GAUSSIAN,
    degrees_of_freedom: Array | None = None,
) -> Problem:
    """The problem of samples in the units of the data.

    Args:
        raw: the samples.
        family: of the covariances.
        floor: least variance of each feature relative to the data's [D].
        prior: in the units of the data.
        distribution: of the components.
        degrees_of_freedom: where they begin, or stay [].
    """
    frame = measure(raw, isotropic=family.isotropic)
    samples = standardize_samples(raw, frame)
    return Problem(
        samples=samples,
        weight=total_weight(samples),
        frame=frame,
        floor=Floor(variances=floor),
        prior=None if prior is None else priors.standardize(prior, frame),
        family=family,
        distribution=distribution,
        degrees_of_freedom=degrees_of_freedom,
    )
