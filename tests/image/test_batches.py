"""Several images in one call: each is segmented for itself, by programs that they share."""

from __future__ import annotations

import numpy as np
import pytest
from pictures import SHAPE, picture

import jgmm
from jgmm.image.batches import alike
from jgmm.image.samples import samples_of


def test_several_are_segmented_each_for_itself() -> None:
    few = np.zeros((3, 5, 3), np.uint8)  # of two colours, of another size
    few[:, 3:] = 200, 100, 0
    images = [picture(), few, picture(seed=1)]
    mask = np.ones(SHAPE, bool)
    mask[:4] = False
    found = jgmm.segment(images, 2, mask=[None, None, mask], search="none")
    alone = jgmm.segment(images[2], 2, mask=mask, search="none")
    np.testing.assert_array_equal(found[2].labels, alone.labels)
    np.testing.assert_allclose(found[2].fit.log_likelihood, alone.fit.log_likelihood, atol=1e-4)
    assert [one.labels.shape for one in found] == [SHAPE, (3, 5), SHAPE]
    assert found[1].labels[0].tolist() == [0, 0, 0, 1, 1]
    np.testing.assert_array_equal(found[1].image, few)
    stacked = jgmm.segment(np.stack([images[0], images[2]]), 2, search="none")
    np.testing.assert_array_equal(stacked[0].labels, found[0].labels)


def test_samples_of_several_are_as_many_and_weigh_the_same() -> None:
    made = [samples_of(picture()), samples_of(picture()[:5]), samples_of(picture()[:1, :3])]
    like = alike(made)
    lengths = [len(samples.features) for samples in like]
    assert lengths[0] == lengths[1] == len(made[0].features)
    assert lengths[2] == lengths[0] // 64 == 3
    for before, after in zip(made, like, strict=True):
        np.testing.assert_allclose(after.weights.sum(), before.weights.sum(), rtol=1e-5)
        means = [s.weights @ s.features / s.weights.sum() for s in (before, after)]
        np.testing.assert_allclose(*means, rtol=1e-5)


def test_what_is_no_batch_is_refused() -> None:
    with pytest.raises(ValueError, match="expected at least one, got none"):
        jgmm.segment([], 2)
    with pytest.raises(ValueError, match="mask: expected one for each of 2 images, got 12"):
        jgmm.segment([picture(), picture()], 2, mask=np.ones(SHAPE, bool))
