"""The first pass."""

from __future__ import annotations

import jax
import numpy as np

from jgmm.data.streams.sources import as_source
from jgmm.fitting.streams.survey import survey

X = np.sort(np.random.default_rng(0).normal(size=(1000, 2)) * [1.0, 30.0], axis=0)


def test_the_frame_is_right_however_the_samples_drift() -> None:
    """And wherever they are, in float32 too: they are brought near before they are rounded."""
    far = X + [1e8, -3.0]
    with jax.enable_x64(False):
        found = survey(as_source(far), 64, lambda d: 0, 0, isotropic=False)
        feeds = list(found.feeds())
    assert found.frame.scale.dtype == np.float32
    assert found.origin is not None
    np.testing.assert_allclose(found.frame.scale, X.std(axis=0), rtol=1e-6)
    np.testing.assert_allclose(
        found.origin + found.frame.center, far.mean(0), rtol=1e-15, atol=1e-6
    )
    near = np.concatenate([feed.features[: feed.n] for feed in feeds])
    np.testing.assert_allclose(near + found.origin, far, rtol=0, atol=1e-5)
    assert (found.n, found.weight, found.n_features) == (1000, 1000.0, 2)
    assert [len(feed.features) for feed in feeds] == [64] * 16
