"""Fits of Student's t: what heavy tails are good for, and all that can be done with them."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from examples import D, K, N, W, X, start
from scipy import stats

import jgmm
from jgmm import interop
from jgmm.data.programs import program
from jgmm.data.samples import Rows, make_samples
from jgmm.em.problem import pose
from jgmm.families.student import StudentT

_RNG = np.random.default_rng(0)
CENTERS = np.array([[0.0, 0.0, 0.0], [4.0, 0.0, 1.0], [0.0, 4.0, -1.0]])
# Of 3 degrees of freedom.
HEAVY = CENTERS[_RNG.integers(K, size=N)] + _RNG.normal(size=(N, D)) / np.sqrt(
    _RNG.gamma(1.5, 1 / 1.5, size=(N, 1))
)
START = jgmm.Mixture(np.ones(K) / K, CENTERS, np.stack([np.eye(D)] * K))
FLOOR = np.full(D, 1e-6)
OPTIONS: dict[str, Any] = {"distribution": "student_t", "search": "none"}


@functools.cache
def fitted(degrees: str | float = "free", **options: Any) -> jgmm.FitResult:
    given = {"tol": 1e-12, **OPTIONS, **options}
    return jgmm.fit(HEAVY, K, init=START, degrees_of_freedom=degrees, **given)


def mixture() -> jgmm.Mixture:
    return fitted().mixture


@pytest.mark.parametrize(
    ("family", "degrees"),
    [
        *((family, "free") for family in ("full", "diag", "EVE")),
        ("full", "shared"),
    ],
)
def test_the_likelihood_never_falls(family: str, degrees: str) -> None:
    """Not in any step of EM as it is: a fit would keep the best.

    A family has the statistics of the weighted samples, and knows nothing of the degrees of
    freedom: one of matrices, one of variances and one of an iteration stand for all.
    """

    @program(once=True)
    def steps(mixture: jgmm.Mixture) -> tuple[jgmm.Mixture, jax.Array]:
        def step(mixture: jgmm.Mixture, _: Any) -> tuple[jgmm.Mixture, jax.Array]:
            return jgmm.em_step(mixture, HEAVY, W, covariance_type=family)

        mixture, _ = step(mixture, None)  # which makes it one of the family
        return jax.lax.scan(step, mixture, length=100)

    begin = dataclasses.replace(
        START, distribution=StudentT(degrees), degrees_of_freedom=np.full(K, 10.0)
    )
    end, curve = steps(begin)
    assert end.covariance_type == family
    assert np.isfinite(end.degrees_of_freedom).all()
    assert (np.diff(curve) >= -1e-13).all()
    assert curve[-1] > curve[0] + 0.01


@pytest.mark.parametrize("degrees", ["free", "shared"])
def test_squarem_comes_to_the_same_fixed_point(degrees: str) -> None:
    plainly, quickly = fitted(degrees, accelerate=False, max_iter=3000), fitted(degrees)
    assert (np.diff(quickly.learning_curve) >= 0).all()
    np.testing.assert_allclose(quickly.log_likelihood, plainly.log_likelihood, rtol=1e-8)
    dof = np.asarray(quickly.mixture.degrees_of_freedom)
    assert (len(set(dof.tolist())) == 1) == (degrees == "shared")


def test_samples_far_out_do_not_drag_means() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(2, size=N)
    centers = np.array([[0.0, 0.0, 0.0], [6.0, 0.0, 0.0]])
    x = centers[labels] + rng.normal(size=(N, D))
    x[rng.random(N) < 0.05] += [0.0, 60.0, 0.0]  # on one side: they drag

    def error(**options: Any) -> Any:
        means = jgmm.fit(x, 2, init=centers, **options).mixture.means
        return np.abs(np.asarray(means) - centers).max()

    gaussian, student = error(), error(distribution="student_t")
    assert gaussian > 1
    assert student < 0.3


def test_degrees_of_freedom_are_found() -> None:
    truth = jgmm.Mixture(
        [0.6, 0.4], [[0.0], [12.0]], [[1.0], [1.0]], degrees_of_freedom=[3.0, 12.0]
    )
    x, labels = jgmm.sample(truth, 20_000)
    for i, df in enumerate((3.0, 12.0)):
        of_one = np.asarray(x)[np.asarray(labels) == i, 0] - truth.means[i, 0]
        assert stats.kstest(of_one, stats.t(df).cdf).pvalue > 0.01
    found = jgmm.fit(x, 2, order="weight", **OPTIONS).mixture
    errors = jgmm.standard_errors(found, x).degrees_of_freedom
    gaps = np.abs(found.degrees_of_freedom - truth.degrees_of_freedom) / errors
    assert (gaps < 3).all()
    assert (np.asarray(errors) < [0.3, 3.0]).all()


def test_standard_errors_are_those_of_the_hessian() -> None:
    """Of one component in one dimension, where the parameters are free as they are.

    Where degrees of freedom are fixed at the best ones, all else is where it was.
    """
    x = stats.t(3).rvs(N, random_state=0)[:, None]
    found = jgmm.fit(x, 1, tol=1e-13, reg_covar=0.0, **OPTIONS).mixture

    def log_likelihood(theta: jax.Array) -> jax.Array:
        at = dataclasses.replace(
            found,
            means=theta[:1, None],
            covariances=theta[1:2, None, None],
            degrees_of_freedom=theta[2:],
        )
        return len(x) * jgmm.score(at, x)

    leaves = (found.means, found.covariances, found.degrees_of_freedom)
    theta = np.concatenate([np.ravel(leaf) for leaf in leaves])
    information = -np.asarray(program(once=True)(jax.hessian(log_likelihood))(theta))
    for degrees, n in (("free", 3), ("shared", 3), ("fixed", 2)):
        expected = np.sqrt(np.diag(np.linalg.inv(information[:n, :n])))
        errors = jgmm.standard_errors(dataclasses.replace(found, distribution=StudentT(degrees)), x)
        assert (errors.degrees_of_freedom is None) == (degrees == "fixed")
        some = jax.tree.leaves((errors.means, errors.covariances, errors.degrees_of_freedom))
        ours = np.concatenate([np.ravel(leaf) for leaf in some])
        np.testing.assert_allclose(ours, expected, rtol=1e-5)


def number(mixture: jgmm.Mixture) -> Any:
    """To which every parameter contributes."""
    rng, leaves = np.random.default_rng(3), jax.tree.leaves(mixture)
    return sum((rng.normal(size=leaf.shape) * leaf).sum() for leaf in leaves)


@pytest.mark.parametrize("degrees", ["free", 4.0])
def test_derivatives_are_those_of_differences(degrees: Any) -> None:
    """By pixels, and by degrees of freedom that are given: backwards, and forwards."""
    given = degrees == 4.0
    way = np.random.default_rng(2).normal(size=HEAVY.shape)
    begin = dataclasses.replace(
        START,
        covariances=np.ones((K, D)),
        family="diag",
        distribution=StudentT("fixed" if given else "free"),
        degrees_of_freedom=np.full(K, 4.0),
    )

    def moved(t: Any) -> tuple[jax.Array, Any]:
        return HEAVY + t * way, degrees + 30 * t if given else degrees

    @program()
    def settled(t: Any) -> jgmm.Mixture:
        """Where EM comes to when nothing moves any more."""
        x, dof = moved(t)
        problem = pose(
            make_samples(Rows(features=x, weights=jnp.ones(N)), 256), begin.family, FLOOR
        )
        inner = problem.standardize(begin)
        if given:
            inner = dataclasses.replace(inner, degrees_of_freedom=jnp.broadcast_to(dof, (K,)))
        end = jax.lax.fori_loop(0, 2000, lambda _, point: problem.step(point)[0], inner)
        return problem.unstandardize(end)

    init = jax.device_get(settled(0.0))

    def found(t: Any) -> jax.Array:
        x, dof = moved(t)
        options = {"covariance_type": "diag", "accelerate": False, "max_iter": 1, **OPTIONS}
        return number(jgmm.fit(x, K, init=init, degrees_of_freedom=dof, **options).mixture)

    step = 1e-4
    ends = [number(jax.device_get(settled(t))) for t in (step, -step)]
    derive = jax.jacfwd if given else jax.grad
    slope = program(once=True)(derive(found))(0.0)
    np.testing.assert_allclose(slope, (ends[0] - ends[1]) / (2 * step), rtol=1e-5)


@pytest.mark.filterwarnings("ignore::jgmm.FitWarning")
def test_a_lane_of_a_vmap_is_a_fit() -> None:
    lanes = np.stack([HEAVY, HEAVY[::-1] + 1])
    options = {"max_iter": 20, "tol": 0.0, "init": START, **OPTIONS}
    together = program(once=True)(jax.vmap(lambda x: jgmm.fit(x, K, **options).mixture))
    many = jax.device_get(together(lanes))
    for i, x in enumerate(lanes):
        one = jgmm.fit(x, K, **options).mixture
        for a, b in zip(jax.tree.leaves(many), jax.tree.leaves(one), strict=True):
            np.testing.assert_allclose(a[i], b, rtol=1e-8, atol=1e-9)


def test_weights_labels_priors_and_gaps() -> None:
    some = HEAVY[: 2 * N // 3]  # which repeated are no more than N, and one program serves both
    repeated = np.arange(len(some)) % 2 + 1
    options = {"tol": 1e-9, "init": START, **OPTIONS}
    weighted = jgmm.fit(some, K, weights=repeated, **options)
    again = jgmm.fit(np.repeat(some, repeated, axis=0), K, **options)
    np.testing.assert_allclose(weighted.log_likelihood, again.log_likelihood, rtol=1e-7)
    dof = again.mixture.degrees_of_freedom
    np.testing.assert_allclose(weighted.mixture.degrees_of_freedom, dof, rtol=1e-2)
    known = np.where(np.arange(N) % 3 == 0, np.asarray(jgmm.predict(weighted, HEAVY)), -1)
    gaps = np.where(np.random.default_rng(4).random(X.shape) < 0.1, np.nan, HEAVY)
    everything = {"weights": W, "labels": known, "prior": "weak", "missing": "nan", **options}
    result = jgmm.fit(gaps, K, **everything)
    assert result.status == jgmm.Status.CONVERGED
    assert (np.diff(result.learning_curve) >= 0).all()
    assert not np.allclose(result.mixture.degrees_of_freedom, 10)


def test_marginals_and_conditionals_make_up_the_density() -> None:
    for family in ("full", "tied", "diag", "spherical"):
        given = dataclasses.replace(start(family, X), degrees_of_freedom=[3.0, 5.0, 9.0])
        known = jgmm.marginal(given, [2])
        joint = jgmm.log_prob(given, HEAVY[:5])
        for row, expected in zip(HEAVY[:5], joint, strict=True):
            rest = jgmm.condition(given, [2], row[2:])
            np.testing.assert_array_equal(rest.degrees_of_freedom, given.degrees_of_freedom + 1)
            found = jgmm.log_prob(known, row[None, 2:]) + jgmm.log_prob(rest, row[None, :2])
            np.testing.assert_allclose(found[0], expected, rtol=1e-9)


def test_entropy_and_divergence() -> None:
    one = jax.tree.map(lambda leaf: leaf[:1], mixture())
    one = dataclasses.replace(one, weights=jnp.ones(1), degrees_of_freedom=jnp.array([5.0]))
    low, high = jgmm.entropy(one)
    exact = stats.multivariate_t(one.means[0], one.covariances[0], 5.0).entropy()
    np.testing.assert_allclose([low, high], exact, rtol=1e-9)
    for dof in (1e3, 1e6, 1e9):  # nearly normal, in either precision
        number = np.float32(dof) if dof == 1e3 else dof
        near = jgmm.Mixture([1.0], [[0.0, 0.0, 0.0]], [np.eye(3)], degrees_of_freedom=number)
        narrow = jax.tree.map(lambda leaf: leaf.astype(np.float32), near)
        exact = stats.multivariate_t(np.zeros(3), np.eye(3), dof).entropy() if dof < 1e6 else None
        normal = 1.5 * (1 + np.log(2 * np.pi))
        np.testing.assert_allclose(jgmm.entropy(near)[0], exact or normal, rtol=1e-5)
        np.testing.assert_allclose(jgmm.entropy(narrow)[0], exact or normal, rtol=1e-5)
    low, high = jgmm.entropy(mixture())
    drawn, _ = jgmm.sample(mixture(), 20_000)
    assert low - 0.05 < -jgmm.score(mixture(), drawn) < high + 0.05
    gap, error = jgmm.kl_divergence(mixture(), START)
    assert gap > 3 * error


def test_they_come_back_from_files(tmp_path: Path) -> None:
    for degrees in ("free", "shared", 4.0):
        made = fitted(degrees).mixture
        jgmm.save(tmp_path / "model", made)
        assert jgmm.load(tmp_path / "model") == made
    # Earlier versions do not know of degrees of freedom, and would take the mixture for another.
    from safetensors import safe_open

    for made, version in ((mixture(), "2"), (START, "1")):
        jgmm.save(tmp_path / "model", made)
        with safe_open(tmp_path / "model", framework="numpy") as file:
            assert file.metadata()["version"] == version


def test_other_ways_to_fit_come_to_the_same() -> None:
    expected = fitted()
    options = {"init": START, "distribution": "student_t"}
    for found in (
        jgmm.fit_stream(HEAVY, K, tol=1e-12, chunk=100, **options),
        jgmm.fit_gradient(HEAVY, K, tol=1e-12, n_steps=20, polish="em", **options),
    ):
        np.testing.assert_allclose(found.log_likelihood, expected.log_likelihood, rtol=1e-6)
        dof = expected.mixture.degrees_of_freedom
        np.testing.assert_allclose(found.mixture.degrees_of_freedom, dof, rtol=0.05)
    swept = jgmm.sweep(HEAVY, [1, 2, 3], distribution="student_t", tol=1e-9)
    assert swept.best().mixture.distribution == StudentT()
    assert "Student-t mixtures" in repr(swept)
    curve = [float(swept[k].log_likelihood) for k in (1, 2, 3)]
    assert curve == sorted(curve)
    assert curve[2] >= float(expected.log_likelihood) - 1e-6


def test_warm_starts() -> None:
    gaussian = jgmm.fit(HEAVY, K, init=START, search="none")
    for init, degrees in ((gaussian, "free"), (fitted(), "shared"), (fitted(), 7.0)):
        result = jgmm.fit(HEAVY, K, init=init, degrees_of_freedom=degrees, max_iter=0, **OPTIONS)
        dof = np.asarray(result.mixture.degrees_of_freedom)
        assert result.mixture.distribution.degrees == ("fixed" if degrees == 7.0 else degrees)
        assert len(set(dof.tolist())) == 1
    with pytest.raises(ValueError, match="init: expected a gaussian mixture, got student_t"):
        jgmm.fit(HEAVY, K, init=fitted())


def test_they_are_shown() -> None:
    text = repr(mixture())
    assert "Mixture of 3 full Student-t components in 3 dimensions" in text
    assert " df " in text
    one = dataclasses.replace(start("spherical", X), degrees_of_freedom=[1.0, 4.0, 4.0])
    rows = one.summary().rows
    assert rows[0][-1] == "inf"  # no variance, for tails so heavy
    np.testing.assert_allclose(float(rows[1][-1]), np.sqrt(2 * one.covariances[1, 0]), rtol=1e-3)


def test_what_cannot_be_done_says_so() -> None:
    for refused in (
        lambda: jgmm.partial_fit(mixture(), HEAVY),
        lambda: interop.to_numpyro(mixture()),
        lambda: jgmm.sklearn.from_mixture(mixture()),
    ):
        with pytest.raises((ValueError, ImportError), match="expected (Gaussian comp|NumPyro)"):
            refused()
    for options, message in (
        ({"degrees_of_freedom": 3.0}, "expected distribution='student_t' with them"),
        ({"distribution": "cauchy"}, "distribution: expected one of gaussian, student_t"),
        ({**OPTIONS, "degrees_of_freedom": "few"}, "expected one of free, shared"),
        *(
            (
                {**OPTIONS, "degrees_of_freedom": value},
                f"expected a finite number above 0, got {value}",
            )
            for value in (-1, 0, 0.0, np.inf)
        ),
        ({**OPTIONS, "degrees_of_freedom": [1.0, 2.0]}, "expected one number"),
    ):
        with pytest.raises(ValueError, match=message):
            jgmm.fit(HEAVY, K, **options)
    for value in (1e-50, 1e39):
        with pytest.raises(
            ValueError, match="expected a number above 0 that float32 can hold, got 1e"
        ):
            jgmm.fit(HEAVY.astype(np.float32), K, **{**OPTIONS, "degrees_of_freedom": value})
    with pytest.raises(ValueError, match="expected 'gaussian' with passes"):
        jgmm.fit_stream(HEAVY, K, passes=2, distribution="student_t")


def test_an_image_with_dead_pixels() -> None:
    rng = np.random.default_rng(0)
    image = np.full((24, 24), 80, np.uint8)
    image[:, 12:] = 160
    image = (image + rng.normal(0, 6, image.shape)).clip(0, 255).astype(np.uint8)
    image[rng.random((24, 24)) < 0.03] = 255
    halves = np.arange(24) >= 12

    def agreement(found: jgmm.Segmentation) -> float:
        same = float((found.labels == halves).mean())
        return max(same, 1 - same)

    found = jgmm.segment(image, 2, distribution="student_t")
    assert agreement(found) > 0.98
    model = found.model
    assert (jgmm.apply(model, image).labels == found.labels).all()
    potts = jgmm.segment(image, 2, distribution="student_t", noise_model="potts", beta=1.0)
    assert potts.fit.mixture.distribution == StudentT()
    assert agreement(potts) > 0.98
