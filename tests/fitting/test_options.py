"""What callers may choose, as it is read."""

from __future__ import annotations

import dataclasses
import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from examples import D, N, W, X, start

import jgmm
from jgmm.data.samples import block_size
from jgmm.families.table import FAMILIES
from jgmm.fitting import options as _options
from jgmm.fitting.batch import few, whole
from jgmm.fitting.choices import Choices
from jgmm.fitting.options import Request, history_capacity, read
from jgmm.solvers.em import Em
from jgmm.solvers.squarem import Squarem
from jgmm.solvers.stages import Stage

K = 2
LABELS = np.where(np.arange(N) < 9, np.arange(N) % K, -1)
SHARES = np.random.default_rng(0).dirichlet(np.ones(K), size=N)
FEW = X.copy()
FEW[3, 1] = np.nan


def request(ks: tuple[int, ...] = (K,), pixels: Any = X, **choices: Any) -> Request:
    return read(pixels, ks, Choices(**choices), spread=False)


def in_rows(blocks: jax.Array) -> np.ndarray:
    """Blocks [B, ..., S] as rows [B S, ...]."""
    last = np.moveaxis(np.asarray(blocks), -1, 1)
    return last.reshape(-1, *last.shape[2:])


@pytest.fixture
def _many(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if these were many samples."""
    monkeypatch.setattr(_options, "subsample_size", lambda *arguments: 128)


WRONG: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"n_restarts": 0}, ValueError, "n_restarts: expected at least 1, got 0"),
    ({"n_restarts": 2.0}, TypeError, "n_restarts: expected an integer, got 2.0"),
    ({"max_iter": -1}, ValueError, "max_iter: expected at least 0, got -1"),
    ({"max_iter": 1.5}, TypeError, "max_iter: expected an integer, got 1.5"),
    ({"max_iter": True}, TypeError, "max_iter: expected an integer, got True"),
    ({"tol": -1e-3}, ValueError, "tol: expected a finite number of at least 0, got -0.001"),
    ({"tol": np.nan}, ValueError, "tol: expected a finite number"),
    ({"tol": 1j}, TypeError, "tol: expected a real number"),
    ({"reg_covar": -1.0}, ValueError, "reg_covar: expected a finite number of at least 0"),
    ({"reg_covar": np.ones(2)}, ValueError, r"reg_covar: .*shape \(3,\), got \(2,\)"),
    (
        {"covariance_type": "diagonal"},
        ValueError,
        "covariance_type: expected one of full, tied, diag, spherical, EII, .*; got 'diagonal'",
    ),
    ({"missing": "drop"}, ValueError, "missing: expected one of error, nan; got 'drop'"),
    ({"pixels": FEW}, ValueError, "pixels: expected finite values, got NaN or infinity"),
    ({"pixels": X[:, 0]}, ValueError, r"pixels: expected shape \[N, D\].*got \(240,\)"),
    ({"pixels": X.astype(str)}, TypeError, "pixels: expected integers or floating point numbers"),
    ({"weights": W[1:]}, ValueError, r"weights: expected shape \(240,\).*got \(239,\)"),
    ({"weights": -W}, ValueError, "weights: expected finite values of at least 0"),
    ({"weights": 1j * W}, TypeError, "weights: expected real numbers, got dtype complex"),
    ({"init": "k-means"}, ValueError, "init: expected one of .*kmeans.*; got 'k-means'"),
    (
        {"init": X[:3]},
        ValueError,
        r"init: expected one of .*a fit, means \(2, 3\)",
    ),
    ({"init": np.full((K, D), np.nan)}, ValueError, "init: expected finite means, got NaN"),
    ({"init": start("full", X)}, ValueError, r"init: expected a full mixture.*\(2,\)"),
    ({"init": start("diag", X, K)}, ValueError, "init: expected a full mixture"),
    ({"init": np.full(N, K)}, ValueError, "init: expected labels from -1 .*to 1, got 2 to 2"),
    ({"init": -SHARES}, ValueError, "init: expected a finite number of at least 0"),
    ({"labels": LABELS.astype(float)}, TypeError, "labels: expected integer labels, got dtype fl"),
    ({"labels": LABELS[1:]}, ValueError, r"labels: expected labels of shape \(240,\), got \(239,"),
    ({"labels": LABELS + K}, ValueError, "labels: expected labels from -1 .*to 1, got 1 to 3"),
    ({"labels": LABELS - 1}, ValueError, "labels: expected labels from -1"),
    ({"labels": LABELS, "ks": (3, 1)}, ValueError, "labels: expected labels from -1 .*to 0"),
    ({"prior": "strong"}, ValueError, "prior: expected one of weak; got 'strong'"),
    ({"prior": 3}, TypeError, "prior: expected a Prior, 'weak' or None, got int"),
    (
        {"key": jax.random.split(jax.random.key(0), 2)},
        ValueError,
        r"key: expected one key, got shape \(2,\)",
    ),
]


@pytest.mark.parametrize(
    ("choices", "error", "message"),
    WRONG,
    ids=[f"{next(iter(c))}-{i}" for i, (c, *_) in enumerate(WRONG)],
)
def test_what_is_wrong_is_said(
    choices: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        request(**choices)


def test_what_is_traced_is_no_part_of_what_is_compiled_for() -> None:
    bare = request()
    one = request(prior=jgmm.weak_prior(X, 3))
    other = request(
        pixels=X[:200],
        key=jax.random.key(3),
        weights=W[:200],
        max_iter=7,
        tol=0.1,
        reg_covar=np.array([0.1, 0.2, 0.3]),
        prior="weak",
        short_runs=False,
    )
    assert bare.options == one.options == other.options
    assert hash(bare.options) == hash(one.options) == hash(other.options)
    assert jax.tree.structure(one.settings) == jax.tree.structure(other.settings)
    # Nor is it of the problem, into which it is put.
    problems = bare.problem, one.problem, other.problem
    assert len(set(map(jax.tree.structure, problems))) == 1
    kinds = [[(x.shape, x.dtype) for x in jax.tree.leaves(problem)] for problem in problems]
    assert kinds[0] == kinds[1] == kinds[2]
    np.testing.assert_array_equal(one.problem.floor.variances, np.full(D, 1e-6))
    np.testing.assert_array_equal(other.problem.floor.variances, [0.1, 0.2, 0.3])
    assert other.settings.stop.tol == 0.1
    assert other.settings.stop.max_iter == other.max_iter == 7
    for name, value in (
        ("covariance_type", "diag"),
        ("init", "random"),
        ("accelerate", False),
        ("max_iter", 512),
        ("missing", "nan"),
    ):
        assert request(**{name: value}).options != bare.options


def test_families_are_objects_and_solvers_stages() -> None:
    for name, family in FAMILIES.items():
        assert request(covariance_type=name).options.family is family
    assert request().options.stages == (Stage(Squarem()),)
    assert request(accelerate=False).options.stages == (Stage(Em()),)
    own = (Stage(Em(), 3), Stage(Squarem()))
    assert request(stages=own).options.stages == own


def test_histories_have_one_of_few_lengths() -> None:
    assert [history_capacity(n) for n in (0, 1, 511, 512, 1023, 1024, 5000)] == [
        512,
        512,
        512,
        1024,
        1024,
        2048,
        8192,
    ]
    assert request(max_iter=600).options.capacity == 1024


def test_samples_are_padded_in_their_dtype() -> None:
    image = (40 * X + 128).clip(0, 255).astype(np.uint8).reshape(12, 20, D)
    found = request(pixels=image, weights=W.reshape(12, 20), labels=LABELS.reshape(12, 20))
    samples, frame = found.problem.samples, found.problem.frame
    floating = (samples.features, samples.weights, found.problem.floor.variances, frame.scale)
    assert {leaf.dtype for leaf in floating} == {np.dtype(np.float32)}
    assert samples.layout.length == 256
    np.testing.assert_array_equal(samples.visited.n, [N])
    np.testing.assert_array_equal(samples.visited.start, [0])
    back = in_rows(samples.features)[:N] * np.asarray(frame.scale) + np.asarray(frame.center)
    np.testing.assert_allclose(back, image.reshape(N, D), atol=1e-4)
    np.testing.assert_array_equal(in_rows(samples.labels)[:N], LABELS)
    np.testing.assert_array_equal(in_rows(samples.weights)[:N], W.astype(np.float32))
    assert (in_rows(samples.weights)[N:] == 0).all()
    np.testing.assert_allclose(found.problem.weight, W.sum(), rtol=1e-6)
    assert found.problem.prior is None
    assert found.mesh is None
    with pytest.raises(ValueError, match="weights: expected shape"):
        request(pixels=image, weights=W.reshape(20, 12))


def test_gaps_are_told_from_what_was_observed() -> None:
    assert not request().options.cut.incomplete
    assert request().problem.samples.observed is None
    gaps = request(pixels=FEW, missing="nan")
    assert gaps.options.cut.incomplete
    samples, frame = gaps.problem.samples, gaps.problem.frame
    observed = in_rows(samples.observed)[:N]
    np.testing.assert_array_equal(observed, ~np.isnan(FEW))
    back = in_rows(samples.features)[:N] * np.asarray(frame.scale) + np.asarray(frame.center)
    np.testing.assert_allclose(back[observed], FEW[observed], atol=1e-12)


@pytest.mark.parametrize(
    ("init", "kind"),
    [
        ("k-means++", "k-means++"),
        (start("full", X, K), "mixture"),
        (X[:K], "means"),
        (LABELS, "labels"),
        (SHARES, "responsibilities"),
    ],
)
@pytest.mark.usefixtures("_many")
def test_a_start_is_told_by_what_it_is(init: Any, kind: str) -> None:
    by_name = isinstance(init, str)
    if not by_name:
        with pytest.raises(ValueError, match="n_restarts: expected 1 .* got 3, which would"):
            request(init=init, n_restarts=3)
    found = request(init=init, n_restarts=3 if by_name else 1)
    assert found.options.start == kind
    # What does not depend on a key needs no restarts, and no run on a subsample.
    assert len(found.keys) == (3 if by_name else 1)
    assert found.options.cut.few == (128 if by_name else None)
    assert (found.settings.init is None) == (kind not in ("mixture", "means"))
    hints = found.problem.samples.hints
    assert (hints is None) == (kind not in ("labels", "responsibilities"))


def test_keys_of_restarts() -> None:
    key = jax.random.key(7)
    one, three = request(key=key).keys, request(key=key, n_restarts=3).keys
    assert jnp.array_equal(jax.random.key_data(one[0]), jax.random.key_data(key))
    split = jax.random.key_data(jax.random.split(key, 3))
    assert jnp.array_equal(jax.random.key_data(three), split)
    none = jax.random.key_data(request().keys[0])
    assert jnp.array_equal(none, jax.random.key_data(jax.random.key(0)))


@pytest.mark.usefixtures("_many")
def test_when_a_run_on_a_subsample_may_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    def size(**choices: Any) -> int | None:
        return request(**choices).options.cut.few

    assert size() == 128
    assert size(short_runs=False) is None
    assert size(labels=LABELS) is None
    assert size(max_iter=0) is None
    monkeypatch.undo()
    assert size() is None  # of so few samples there is no smaller part


@pytest.mark.usefixtures("_many")
def test_a_subsample_is_the_same_for_all_keys_and_behind_the_samples() -> None:
    found = request(key=jax.random.key(1), weights=W)
    other = request((4,), key=jax.random.key(2), weights=W, n_restarts=2)
    cut = found.options.cut
    assert cut == other.options.cut
    assert cut.spare == 1
    some, more = few(found.problem, cut), few(other.problem, cut)
    assert jax.tree.all(jax.tree.map(jnp.array_equal, some, more))
    # Of the same arrays it is another part, that weighs as much.
    every = whole(found.problem, cut)
    assert every.samples.weights is some.samples.weights
    assert (every.samples.visited.start, every.samples.visited.n) == (0, N)
    start, n = int(some.samples.visited.start[0]), int(some.samples.visited.n[0])
    assert (start, n) == (len(some.samples.weights) - 1, 128)
    weights = np.asarray(some.samples.weights[start])
    np.testing.assert_allclose(weights.sum(), W.sum(), rtol=1e-12)
    np.testing.assert_array_equal(weights > 0, np.arange(len(weights)) < 128)
    features = in_rows(some.samples.features)
    behind = {tuple(row) for row in features[start * cut.block_size :][:128]}
    assert len(behind) > 100  # those that weigh more may come twice
    assert behind < {tuple(row) for row in features[:N]}


def test_a_weak_prior_is_another_for_each_k_and_a_given_one_the_same() -> None:
    assert request((4, 2)).settings.priors == {4: None, 2: None}
    assert request((4, 2)).one_prior
    weak = request((4, 2), prior="weak", weights=W)
    assert not weak.one_prior
    assert request((4,), prior="weak").one_prior
    for k in (4, 2):
        expected = jgmm.weak_prior(X, k, W)
        assert jax.tree.all(jax.tree.map(jnp.array_equal, weak.settings.priors[k], expected))
    prior = jgmm.weak_prior(X, 3)
    assert request((4, 2), prior=prior).one_prior
    single = request((4, 2), pixels=X.astype(np.float32), prior=prior).settings.priors[2]
    assert {leaf.dtype for leaf in jax.tree.leaves(single)} == {np.dtype(np.float32)}


def test_which_components_take_part() -> None:
    """Those behind are padding."""
    found = request((4, 1, 2))
    number = np.arange(8)
    np.testing.assert_array_equal(found.used((1, 2)), [number < 1, number < 2])
    mixture = start("full", X, K)
    unused = dataclasses.replace(mixture, weights=np.array([1.0, 0.0]))
    np.testing.assert_array_equal(request(init=unused).used((0,)), [number < 1])
    np.testing.assert_array_equal(request(init=X[:K]).used((0,)), [number < K])


def test_programs_that_share_out_their_work_run_one_at_a_time() -> None:
    """Two of them would wait for each other."""
    rng = np.random.default_rng(0)
    for d, k, alone in ((3, 5, True), (10, 8, True), (30, 8, False), (60, 4, False)):
        found = request((k,), pixels=rng.normal(size=(100, d)))
        assert found.n_threads == ((os.cpu_count() or 1) if alone else 1)


def test_few_samples_have_one_of_few_numbers_of_components() -> None:
    """And blocks cut for that."""
    for ks, most in (((1,), 8), ((8, 3), 8), ((2, 9), 16), ((17,), 32)):
        found = request(ks)
        assert found.n_components == most
        assert found.ks == ks
        assert found.options.cut.block_size == block_size(most, D, X.dtype)
    many = np.tile(X, (1 + (1 << 15) // X.size, 1))
    assert request((2, 9), pixels=many).n_components == 9
    # What is given is padded too, by components of weight 0.
    mixture, means = (request(init=init).settings.init for init in (start("full", X, K), X[:K]))
    assert mixture.means.shape == means.shape == (8, D)
    np.testing.assert_array_equal(mixture.weights[K:], 0)
    np.testing.assert_array_equal(means[:K], X[:K])


def test_whatever_is_traced_fits_go_side_by_side() -> None:
    """Pixels or a setting; on a CPU still in turn, and with blocks as large as of one."""
    assert request((2, 4), n_restarts=3).sequential
    plain = request((2, 4), n_restarts=3).options.cut.block_size
    seen = []

    def trace(**choices: Any) -> None:
        seen.append(request((2, 4), n_restarts=3, **choices))

    prior = jgmm.weak_prior(X, 2)
    for choices in (
        {"pixels": jnp.asarray(X)},
        {"tol": jnp.asarray(1e-3)},
        {"reg_covar": jnp.asarray(1e-3)},
        {"weights": jnp.asarray(W)},
        {"prior": prior},
    ):
        jax.eval_shape(lambda choices: trace(**choices), choices)
    assert not any(found.sequential for found in seen)
    assert {found.n_components for found in seen} == {4}
    assert all(found.options.cut.block_size >= plain for found in seen)
