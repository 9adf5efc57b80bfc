"""k-means: Lloyd's algorithm from a k-means++ start, on data of any size."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh
from jax.typing import ArrayLike

from jgmm import _checks
from jgmm._status import Status, raise_for_status, warn_of_status
from jgmm._struct import Shown, Table, number, struct, values_known
from jgmm.clustering.lloyd import Clusters, cluster, inertia, label
from jgmm.data.devices import Placed, Shares, gather_rows, over_rows, over_samples, place
from jgmm.data.frame import measure, standardize
from jgmm.data.interruptible import interruptible
from jgmm.data.origin import near_origin, plus
from jgmm.data.programs import program
from jgmm.data.samples import Rows, Samples, block_size
from jgmm.data.subsample import few_and_all, subsample_blocks


@struct
class KMeansResult(Shown):
    """The result of `kmeans`. With ``n_restarts`` it is the best of them.

    Attributes:
        centroids: [K, D].
        labels: the nearest centroid of each pixel [N], int32 from 0 to K - 1.
        inertia: weighted sum of squared distances to these centroids [].
        n_iter: Lloyd steps over all the data [].
        status: how it ended [], a `Status` as int32.
    """

    centroids: Array
    labels: Array
    inertia: Array
    n_iter: Array
    status: Array

    def _tables(self) -> tuple[Table]:
        return (self._table(10),)

    def _showable(self) -> bool:
        return values_known(self) and np.ndim(self.inertia) == 0

    def summary(self) -> Table:
        """How many pixels are nearest to each centroid, as a table to print."""
        return self._table(len(self.centroids))

    def _table(self, most: int) -> Table:
        k, d = self.centroids.shape
        sizes = np.bincount(np.asarray(self.labels), minlength=k)
        return Table(
            f"k-means, k = {k}: inertia {number(self.inertia, 6)}, {int(self.n_iter)} steps, "
            f"{Status(int(self.status)).name}",
            ("cluster", "pixels", *(f"centroid {j}" for j in range(d))),
            [
                (str(i), str(size), *map(number, centroid))
                for i, (size, centroid) in enumerate(
                    zip(sizes[:most], np.asarray(self.centroids)[:most], strict=True)
                )
            ],
            () if k <= most else (f"  and {k - most} more clusters",),
        )

    def raise_for_status(self) -> None:
        """Raise a RuntimeError unless converged."""
        raise_for_status(self.status)


@program("k", "size", "mesh")
def _kmeans(
    placed: Placed, keys: Array, tol: Array, max_iter: Array, k: int, size: int, mesh: Mesh | None
) -> KMeansResult:
    n_devices = 1 if mesh is None else mesh.size
    spare = subsample_blocks(len(placed.rows.features) // n_devices, n_devices, size)

    def best_of(samples: Samples, keys: Array, tol: Array, max_iter: Array) -> KMeansResult:
        frame = measure(samples, isotropic=True)
        samples = standardize(samples, frame)
        used = jnp.ones(k, bool)
        # Rounding moves a centroid back and forth by so much for ever.
        rounding = 4 * float(np.finfo(tol.dtype).eps)
        few, parts = few_and_all(samples, jax.random.key(0), spare)
        tol = jnp.maximum(tol, k * samples.n_features * rounding**2)

        def one(key: Array) -> tuple[Clusters, Array]:
            clusters = cluster(parts, few, k, used, key, tol, max_iter)
            return clusters, inertia(clusters.centroids, used, parts[-1])

        if len(keys) == 1:  # without vmap, under which every step would re-seed empty clusters
            alone = one(keys[0])
            clusters, inertias = jax.tree.map(lambda leaf: leaf[None], alone)
        else:
            clusters, inertias = jax.vmap(one)(keys)
        least = jnp.argmin(inertias)
        best = jax.tree.map(lambda leaf: leaf[least], clusters)
        status = jnp.where(best.shift <= tol, Status.CONVERGED, Status.MAX_ITER)
        status = jnp.where(jnp.isfinite(inertias[least]), status, Status.NONFINITE)
        return KMeansResult(
            centroids=best.centroids * frame.scale + frame.center,
            labels=jnp.zeros(0, jnp.int32),
            inertia=inertias[least] * frame.scale[0] ** 2,
            n_iter=best.n_iter,
            status=status.astype(jnp.int32),
        )

    def labels(pixels: Array, centroids: Array) -> Array:
        return label(pixels, centroids, jnp.ones(k, bool), size)

    within = spare if isinstance(placed.held, Shares) else 0
    result = over_samples(best_of, placed, size, mesh, keys, tol, max_iter, spare=within)
    return dataclasses.replace(
        result, labels=over_rows(labels, placed.rows.features, mesh, result.centroids)
    )


def kmeans(
    pixels: ArrayLike,
    k: int,
    *,
    key: Array | int | None = None,
    weights: ArrayLike | None = None,
    n_restarts: int = 1,
    max_iter: int = 300,
    tol: ArrayLike = 1e-4,
) -> KMeansResult:
    """Cluster pixels by k-means.

    Greedy k-means++ on up to 16,384 samples (Arthur and Vassilvitskii 2007), Lloyd's steps on
    those, then on all. An empty cluster is re-seeded at the sample farthest from every centroid.

    Args:
        pixels: [N, D], or [..., D] with the leading axes flattened.
        k: the number of clusters. Of data with fewer distinct samples some stay empty.
        key: a JAX PRNG key, or an integer to make one of; None means 0.
        weights: sample weights >= 0 of shape [...] or [N]; None means all 1.
        n_restarts: runs from different starts, side by side; the best is returned.
        max_iter: Lloyd steps at most.
        tol: stop when the squared shifts of the centroids sum to less than this, relative to the
            mean variance of the features.

    Returns:
        The clustering; ``inertia`` and ``labels`` belong to the ``centroids`` returned.

    Raises:
        TypeError: an argument of the wrong type.
        ValueError: k < 1, shapes that do not fit, values that are not finite.

    Example:
        >>> import jax.numpy as jnp, jgmm
        >>> result = jgmm.kmeans(jnp.array([[0.0], [1.0], [10.0], [11.0]]), 2)
        >>> [round(x, 3) for x in sorted(result.centroids.ravel().tolist())]
        [0.5, 10.5]
    """
    k = _checks.as_count("k", k)
    n_restarts = _checks.as_count("n_restarts", n_restarts)
    max_iter = _checks.as_count("max_iter", max_iter)

    def work() -> KMeansResult:
        array, origin = near_origin(pixels)
        dtype = array.dtype
        sample_weights = _checks.as_weights(weights, array.shape[:-1], dtype)
        flat = array.reshape(-1, array.shape[-1])
        placed, mesh = place(Rows(features=flat, weights=sample_weights))
        result = _kmeans(
            placed,
            restart_keys(key, n_restarts),
            _checks.as_nonnegative("tol", tol, dtype),
            _checks.as_array(max_iter, jnp.int32),
            k=k,
            size=block_size(k, flat.shape[1], dtype),
            mesh=mesh,
        )
        return dataclasses.replace(
            result,
            centroids=plus(result.centroids, origin),
            labels=gather_rows(result.labels, placed, len(flat)),
        )

    result = interruptible(work, pixels, weights, key, tol)
    warn_of_status(result.status, on_purpose=_checks.is_zero(tol))
    return result


def restart_keys(key: Array | int | None, n_restarts: int) -> Array:
    """One key per restart [R]; a single restart uses the key itself."""
    key = _checks.as_key(key)
    if n_restarts > 1:
        return jax.random.split(key, n_restarts)
    if not _checks.is_concrete(key) or _checks.in_program():
        return key[None]
    data: Any = np.asarray(jax.random.key_data(key))[None]  # for which nothing is compiled
    return jax.random.wrap_key_data(data, impl=jax.random.key_impl(key))
