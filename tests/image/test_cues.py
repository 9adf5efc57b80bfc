"""Over what the pixels of parts are distributed, and that merging goes by it."""

from __future__ import annotations

import dataclasses
import math
import pickle
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jgmm
from jgmm._struct import amend
from jgmm.image import cues
from jgmm.image.hierarchy import connected_parts, tree_of
from jgmm.image.samples import comparable_colours, samples_of
from jgmm.image.trees import Trees, described

pytestmark = pytest.mark.filterwarnings("ignore::jgmm.FitWarning")
RNG = np.random.default_rng(3)
QUICK: dict[str, Any] = {"max_iter": 20, "search": "none", "tol": 1e-3}
IMAGE = np.clip(
    np.kron(RNG.uniform(20, 230, (4, 5, 3)), np.ones((6, 6, 1))) + RNG.normal(0, 9, (24, 30, 3)),
    0,
    255,
).astype(np.uint8)


@pytest.mark.parametrize("kind", ["distinct colours", "pixels", "place"])
@pytest.mark.parametrize("at_once", [100, 1 << 16])
def test_posteriors_are_summed_over_parts(
    kind: str, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cues, "_PIXELS", at_once)
    mask = RNG.random(IMAGE.shape[:2]) < 0.8
    image = IMAGE / np.float32(255) if kind == "pixels" else IMAGE
    samples = samples_of(image, "rgb+xy" if kind == "place" else "rgb", mask=mask)
    assert (samples.index is None) == (kind != "distinct colours")
    mixture = jgmm.fit(samples.features, 5, weights=samples.weights, key=0, **QUICK).mixture
    parts = connected_parts(np.where(mask, np.mgrid[:24, :30][1] // 10, -1))
    found = cues.posterior_sums(mixture, samples, parts)
    of_pixel = samples.features if samples.index is None else samples.features[samples.index]
    shares = np.asarray(jgmm.responsibilities(mixture, jnp.asarray(of_pixel)))
    expected = [shares[parts[mask] == i].sum(axis=0) for i in range(int(parts.max()) + 1)]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found.sum(axis=1), np.bincount(parts[mask]), rtol=1e-5)


def test_what_is_not_finite_is_of_no_component() -> None:
    samples = samples_of(IMAGE, "rgb")
    mixture = jgmm.Mixture(jnp.ones(2) / 2, jnp.zeros((2, 3)), jnp.ones((2, 1)))
    mixture = amend(mixture, means=jnp.full((2, 3), jnp.nan))  # as a fit that went wrong has them
    found = cues.posterior_sums(mixture, samples, np.zeros(IMAGE.shape[:2], np.int32))
    np.testing.assert_array_equal(found, 0)


def test_histograms_count_each_pixel_once() -> None:
    parts = connected_parts(RNG.integers(-1, 3, (12, 15)))
    deviations = [RNG.uniform(0, high, parts.shape) for high in (3.0, 30.0, 300.0)]
    found = cues.deviation_histograms(deviations, parts)
    n = int(parts.max()) + 1
    np.testing.assert_allclose(found.sum(axis=1), np.bincount(parts[parts >= 0], minlength=n))
    edges = np.expm1(np.linspace(0, 4, 13))
    edges[-1] = np.inf
    expected = np.concatenate([np.histogram(d[parts == 0], edges)[0] for d in deviations]) / 3
    np.testing.assert_allclose(found[0], expected)


def test_what_a_cue_does_to_a_cost() -> None:
    """A factor 0.1 + 2 h, h of both with 0.004 of all pixels added, as those of the whole."""
    parts = np.repeat([[0, 1]], 10, axis=0).repeat(5, axis=1)  # 50 pixels each
    colours = parts[..., None] * 3.0
    (plain,) = tree_of(parts, colours).costs
    tables = [np.array([[50.0, 0], [0, 50]]), np.array([[20.0, 30], [25, 25]])]
    factor = 1.0
    for table in tables:
        shares = (table + 0.4 * table.sum(axis=0) / 100) / 50.4
        factor *= 0.1 + 2 * math.sqrt(1 - np.sqrt(shares[0] * shares[1]).sum())
    (found,) = tree_of(parts, colours, cues=lambda _: tables).costs
    assert found == pytest.approx(plain * factor)
    (alike,) = tree_of(parts, colours, cues=lambda _: [np.full((2, 3), 50 / 3)]).costs
    assert alike == pytest.approx(0.1 * plain)


def striped() -> tuple[np.ndarray, np.ndarray]:
    """Plain, and two striped parts of one cloth: the mean of the middle is nearer to the plain."""
    parts = np.zeros((30, 60), np.int32)
    parts[:, 20:40], parts[:, 40:] = 1, 2
    image = np.full((30, 60, 3), 134.0)
    image[:, 20:40] = np.where(np.arange(30)[:, None, None] % 2, 60, 184)
    image[:, 40:] = np.where(np.arange(30)[:, None, None] % 3, 60, 184)
    return parts, np.clip(image + RNG.normal(0, 3, image.shape), 0, 255).astype(np.uint8)


def test_posteriors_join_what_means_tell_apart() -> None:
    parts, image = striped()
    samples = samples_of(image, "lab")
    mixture = jgmm.fit(samples.features, 3, weights=samples.weights, key=0, **QUICK).mixture
    colours = comparable_colours(image, parts >= 0)
    shares = cues.posterior_sums(mixture, samples, parts)
    by_colour = tree_of(parts, colours).cut(n_regions=2)
    by_both = tree_of(parts, colours, cues=lambda _: [shares]).cut(n_regions=2)
    assert by_colour[0, 0] == by_colour[0, 30] != by_colour[0, 50]
    assert by_both[0, 0] != by_both[0, 30] == by_both[0, 50]


def test_a_segmentation_goes_by_its_mixture() -> None:
    found = jgmm.segment(IMAGE, 4, merge=1.0, min_region=4, **QUICK)
    samples = samples_of(IMAGE, "rgb")
    inside = found.parts >= 0
    colours, cues_of = described(found.original, inside, found.fit.mixture, samples)
    asked: list[np.ndarray] = []

    def watched(parts: np.ndarray) -> Sequence[np.ndarray]:
        asked.append(parts)
        return cues_of(parts)

    tree = tree_of(found.parts, colours, 4, watched)
    # Only what is left is described, when parts of fewer than 4 pixels are absorbed.
    (left,) = asked
    assert left.max() + 1 == tree.n_regions < found.parts.max() + 1
    assert [table.shape for table in cues_of(left)] == [(tree.n_regions, 36), (tree.n_regions, 4)]
    np.testing.assert_array_equal(found.regions, tree.cut(merge=1.0))
    np.testing.assert_allclose(found.hierarchy.costs, tree.costs)
    without = Trees().of(found.parts, found.original, 4, found.fit.mixture)
    textures = tree_of(found.parts, colours, 4, lambda parts: cues_of(parts)[:1])
    np.testing.assert_array_equal(without.costs, textures.costs)
    assert not np.allclose(without.costs, tree.costs)


def test_a_tree_is_the_same_whenever_it_is_made() -> None:
    image = IMAGE / 255 + RNG.normal(0, 0.02, IMAGE.shape)
    with jax.enable_x64(True):
        plain = jgmm.segment(image, 3, features="lab+xy", **QUICK)
        merged = jgmm.segment(image, 3, features="lab+xy", merge=1.0, **QUICK)
    later = pickle.loads(pickle.dumps(plain))
    for tree in (plain.hierarchy, later.hierarchy, jgmm.apply(plain, image).hierarchy):
        np.testing.assert_array_equal(tree.costs, merged.hierarchy.costs)
        np.testing.assert_array_equal(tree.cut(merge=1.0), merged.regions)
    # Of a part of the image the samples say nothing.
    cropped = dataclasses.replace(
        jgmm.segment(IMAGE, 3, **QUICK),
        parts=connected_parts(plain.labels[:12]),
        original=plain.original[:12],
    )
    assert cropped.hierarchy.cut(n_regions=1).max() == 0
