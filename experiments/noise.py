"""Is a uniform noise component worth its place? Photographs with dust and dead pixels put in.

    python -m experiments.noise [--data DIR] [-k 5] [--limit N]

For each kind of damage, mixtures of k components, of k + 1, and of k with a uniform component over
the box of the data beside them (Banfield and Raftery 1993; the ``noise`` of mclust) are fitted to
the damaged photograph and compared with the mixture that is fitted to the clean one, on the pixels
that are clean. What came of it is in NOTES-noise.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

import jgmm
from jgmm.image import read_image

NdArray = npt.NDArray[Any]

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
FLOOR = (1 / 255) ** 2 / 12  # the variance of rounding to 8 bits
N_RESTARTS, N_STEPS = 4, 300


def random_colours(image: NdArray, share: float, rng: np.random.Generator) -> NdArray:
    """A share of the pixels in random colours."""
    hit = rng.random(image.shape[:2]) < share
    return np.where(hit[..., None], rng.random(image.shape), image)


def dead(image: NdArray, share: float, rng: np.random.Generator) -> NdArray:
    """A share of the pixels black or white."""
    hit = rng.random(image.shape[:2]) < share
    return np.where(hit[..., None], rng.integers(0, 2, (*image.shape[:2], 1)), image)


def dust(image: NdArray, share: float, rng: np.random.Generator) -> NdArray:
    """Grey specks of radius 2 over a share of the image."""
    height, width = image.shape[:2]
    rows, columns = np.mgrid[:height, :width]
    damaged = image.copy()
    for _ in range(round(share * height * width / 13)):
        y, x = rng.integers(height), rng.integers(width)
        speck = (rows - y) ** 2 + (columns - x) ** 2 <= 4
        damaged[speck] = 0.3 + 0.4 * rng.random() + 0.02 * rng.normal(size=(speck.sum(), 3))
    return np.clip(damaged, 0, 1)


DAMAGES: dict[str, Callable[[NdArray], NdArray]] = {
    f"{function.__name__.replace('_', ' ')}, {share:.0%}": lambda image, f=function, s=share: f(  # type: ignore[misc]
        image, s, np.random.default_rng(0)
    )
    for function in (random_colours, dead, dust)
    for share in (0.01, 0.05)
}


@partial(jax.jit, static_argnames="n_steps")
def with_noise(mixture: jgmm.Mixture, x: jax.Array, n_steps: int) -> tuple[jgmm.Mixture, Any, Any]:
    """EM with a uniform component over the box of x [N, D], from 5% of it.

    Returns:
        The mixture of the others, the weight of the uniform component, and the likelihood.
    """
    level = -jnp.sum(jnp.log(x.max(0) - x.min(0)))

    def parts(mixture: jgmm.Mixture, share: jax.Array) -> tuple[jax.Array, jax.Array]:
        inside = jnp.log1p(-share) + jgmm.log_prob(mixture, x)
        return inside, jnp.logaddexp(inside, jnp.log(share) + level)

    def step(_: Any, state: tuple[jgmm.Mixture, jax.Array]) -> tuple[jgmm.Mixture, jax.Array]:
        mixture, share = state
        inside, total = parts(mixture, share)
        mine = jnp.exp(inside - total)
        moved, _ = jgmm.em_step(mixture, x, mine, reg_covar=FLOOR)
        return moved, 1 - jnp.mean(mine)

    start = (mixture, jnp.asarray(0.05, x.dtype))
    mixture, share = jax.lax.fori_loop(0, n_steps, step, start)
    return mixture, share, jnp.mean(parts(mixture, share)[1])


def with_broad(mixture: jgmm.Mixture, x: NdArray) -> jgmm.Mixture:
    """The mixture with one more component, 5%, as broad as the data."""
    return jgmm.Mixture(
        weights=jnp.append(0.95 * mixture.weights, 0.05).astype(x.dtype),
        means=jnp.concatenate([mixture.means, x.mean(0)[None]]),
        covariances=jnp.concatenate([mixture.covariances, jnp.asarray(np.cov(x.T), x.dtype)[None]]),
    )


def fits(
    x: NdArray, k: int, start: jgmm.Mixture | None = None
) -> dict[str, tuple[jgmm.Mixture, float]]:
    """The three kinds of fit and the weight of noise: from ``start``, or the best of several."""
    best: dict[str, tuple[float, jgmm.Mixture, float]] = {}
    inits = {} if start is None else {k: start, k + 1: with_broad(start, x)}
    for key in jax.random.split(jax.random.key(0), 1 if inits else N_RESTARTS):
        for name, number in (("k", k), ("k + 1", k + 1)):
            fit = jgmm.fit(x, number, key=key, init=inits.get(number, "kmeans"))
            found = (float(fit.log_likelihood), fit.mixture, 0.0)
            best[name] = max(best.get(name, found), found, key=lambda f: f[0])
            if number == k:
                first = fit.mixture if start is None else start
                mixture, share, value = with_noise(first, jnp.asarray(x), N_STEPS)
                found = (float(value), mixture, float(share))
                best["noise"] = max(best.get("noise", found), found, key=lambda f: f[0])
    return {name: (mixture, share) for name, (_, mixture, share) in best.items()}


def compare(
    mixture: jgmm.Mixture, truth: jgmm.Mixture, clean: NdArray
) -> tuple[float, float, float]:
    """On clean pixels: likelihood, error of the means (levels of 8 bits), labels that changed (%).

    Components are paired by the pixels that they share. Of k + 1 the one that is left over counts
    as noise: its weight goes to the others.
    """
    ours, theirs = np.asarray(jgmm.predict(mixture, clean)), np.asarray(jgmm.predict(truth, clean))
    table = np.zeros((mixture.n_components, truth.n_components))
    np.add.at(table, (ours, theirs), 1)
    rows, columns = linear_sum_assignment(-table)
    kept = jgmm.Mixture(
        weights=mixture.weights[rows] / mixture.weights[rows].sum(),
        means=mixture.means[rows],
        covariances=mixture.covariances[rows],
    )
    labels = columns[np.asarray(jgmm.predict(kept, clean))]
    gaps = np.asarray(kept.means - truth.means[columns])
    error = 255 * np.sqrt(np.sum(np.asarray(truth.weights)[columns, None] * gaps**2))
    return float(jgmm.score(kept, clean)), float(error), 100 * float(np.mean(labels != theirs))


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a table of means over the photographs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("-k", type=int, default=5)
    parser.add_argument("--limit", type=int, default=8, help="photographs")
    parser.add_argument(
        "--own-starts",
        action="store_true",
        help="start from k-means of the damaged photograph, not from the clean mixture",
    )
    given = parser.parse_args(arguments)
    paths = sorted(given.data.rglob("*.jpg"))
    paths = paths[:: max(1, len(paths) // given.limit)][: given.limit]
    rows: dict[tuple[str, str], list[tuple[float, ...]]] = {}
    for path in paths:
        image = read_image(path).pixels[::2, ::2].astype(np.float32) / np.float32(255)
        truth = fits(image.reshape(-1, 3), given.k)["k"][0]
        for name, damage in DAMAGES.items():
            damaged = damage(image).astype(np.float32)
            clean = image[(damaged == image).all(axis=-1)]
            limit = float(jgmm.score(truth, clean))
            start = None if given.own_starts else truth
            for kind, (mixture, share) in fits(damaged.reshape(-1, 3), given.k, start).items():
                score, error, changed = compare(mixture, truth, clean)
                rows.setdefault((name, kind), []).append(
                    (limit - score, error, changed, 100 * share)
                )
    print(f"{len(paths)} photographs, k = {given.k}; median (mean)\n")
    print("| damage | fit | likelihood lost | error of means | labels changed (%) | noise (%) |")
    print("| --- | --- | --- | --- | --- | --- |")
    for (name, kind), values in rows.items():
        pairs = zip(np.median(values, axis=0), np.mean(values, axis=0), strict=True)
        print(f"| {name} | {kind} | " + " | ".join(f"{a:.3g} ({b:.3g})" for a, b in pairs) + " |")


if __name__ == "__main__":
    main()
