"""Samples shared out over several devices; in a process of its own, which can have two."""

from __future__ import annotations

import subprocess
import sys

CODE = """
import jax
import numpy as np
import jgmm
from jgmm.data.devices import place
from jgmm.data.samples import Rows
from jgmm.fitting.batch import few
from jgmm.fitting.choices import Choices
from jgmm.fitting.options import read

jgmm.use_all_cores(2)

assert len(jax.devices()) == 2
rng = np.random.default_rng(0)
x = rng.normal(size=(10_001, 2)).astype(np.float32) * [1, 3] + rng.integers(3, size=(10_001, 1)) * 4
x = x.astype(np.float32)
w = rng.uniform(0.5, 2, size=len(x)).astype(np.float32)
one = jax.device_put(x, jax.devices()[0])  # data that have a place stay there
start = jgmm.Mixture(
    weights=np.ones(2, np.float32) / 2, means=x[:2], covariances=np.ones((2, 2), np.float32)
)
fits = [
    jgmm.fit(pixels, 2, weights=w, init=start, covariance_type="diag", max_iter=6, tol=0)
    for pixels in (x, one)
]
for a, b in zip(*map(jax.tree.leaves, fits)):
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
rows = Rows(features=jax.numpy.asarray(x), weights=jax.numpy.asarray(w))
assert place(rows)[1].size == 2
both, single = (jgmm.kmeans(pixels, 2, weights=w, n_restarts=2) for pixels in (x, one))
assert both.labels.shape == (10_001,)
np.testing.assert_allclose(both.inertia, single.inertia, rtol=1e-3)
distances = ((x[:, None] - np.asarray(both.centroids)) ** 2).sum(-1)
assert (np.asarray(both.labels) == distances.argmin(1)).mean() > 0.999
np.testing.assert_allclose(both.inertia, w @ distances.min(1), rtol=1e-5)

# So many samples that the start is fitted to a subsample first, of which each device has a share.
many = np.concatenate([x] * 14)
for pixels in (many, jax.device_put(many, jax.devices()[0])):
    result = jgmm.fit(pixels, 2, covariance_type="diag", tol=1e-8)
    assert result.history[0] > result.log_likelihood - 0.01, result
    np.testing.assert_allclose(jgmm.score(result.mixture, x), result.log_likelihood, rtol=1e-6)

# That is as many samples as one device would take, in the last blocks of each.
weights = np.tile(w, 14)
for n_devices in (1, 2):
    choices = Choices(weights=weights, covariance_type="diag")
    request = read(many, (2,), choices, spread=n_devices == 2)
    assert (1 if request.mesh is None else request.mesh.size) == n_devices
    cut = request.options.cut
    assert cut.few * n_devices == 1 << 14
    samples = few(request.problem, cut).samples
    blocks = np.asarray(samples.weights).reshape(n_devices, -1, cut.block_size)
    (start,) = set(np.asarray(samples.visited.start).tolist())
    assert start == blocks.shape[1] - cut.spare
    np.testing.assert_array_equal(samples.visited.n, [cut.few] * n_devices)
    assert (blocks[:, start:] > 0).sum() == 1 << 14
    np.testing.assert_allclose(blocks[:, start:].sum(), weights.sum(), rtol=1e-4)

# Of sharded samples nothing is gathered but sums: in a step the statistics, of k rounded up to 8,
# and the likelihood, each with its rounding error. What is said of each sample stays where it is.
from experiments.benchmarks.exchange import collectives
from jax.sharding import Mesh, NamedSharding, PartitionSpec

order = jax.devices()[::-1]
mesh = Mesh(np.array(order), ("p",))
pixels, weights = (
    jax.device_put(leaf[:10_000], NamedSharding(mesh, PartitionSpec("p"))) for leaf in (x, w)
)
start = jgmm.Mixture(np.ones(2, "f4") / 2, x[:2], np.broadcast_to(np.eye(2, dtype="f4"), (2, 2, 2)))
def step():
    return jgmm.fit(pixels, 2, weights=weights, init=start, max_iter=1, tol=0)
exchanged = collectives(step)
assert max(exchanged) == ("all-gather", 2 * 4 * 2 * (8 * (1 + 2 + 4) + 1)), exchanged
for call in (jgmm.score, jgmm.icl):
    total = []
    exchanged = collectives(lambda: total.append(call(start, pixels, weights)))
    assert [kind for kind, n in exchanged if n < 64] == ["all-gather"] * len(exchanged), exchanged
    np.testing.assert_allclose(total[0], call(start, x[:10_000], w[:10_000]), rtol=1e-5)
square, values = pixels.reshape(100, 100, 2), []
exchanged = collectives(lambda: values.append(jgmm.predict(start, square)))
assert exchanged == [], exchanged
places = {str(shard.device) for shard in values[0].addressable_shards}
assert places == set(map(str, order)), values[0].sharding
expected = np.asarray(jgmm.predict(start, x[:10_000])).reshape(100, 100)
assert (np.asarray(values[0]) == expected).mean() > 0.999
assert len(jgmm.kmeans(pixels, 2).labels.sharding.device_set) == 2

# Many features: XLA wants threads for a matrix product while the devices wait for each other.
wide = rng.normal(size=(40_000, 32)).astype(np.float32)
start = jgmm.Mixture(
    weights=np.ones(32, np.float32) / 32,
    means=wide[:32],
    covariances=np.broadcast_to(np.eye(32, dtype=np.float32), (32, 32, 32)),
)
assert int(jgmm.fit(wide, 32, init=start, max_iter=3, tol=0).n_iter) == 3
"""


def test_two_devices_give_what_one_gives() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
