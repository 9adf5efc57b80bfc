"""Which prior makes mixtures segment as people do? Learned by gradient, through the fit.

    python -m experiments.learned_prior --data DIR [-o FIGURE] [--json FILE]

The fit is a maximum a posteriori fit of L*a*b* colours and positions, and what is learned is the
inverse-Wishart prior of the covariances: how wide a segment is in lightness, in both colours and
in place, relative to the whole photograph, and how strongly it is held. The gradient of the
agreement with the segmentations that people drew goes from a Rand index of soft segments, adjusted
for chance, to the responsibilities and through the fit (the implicit derivative of `jgmm.fit`) to
the prior. Learned on one half of the photographs, measured on the other, and the other way round.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import optax
from matplotlib.figure import Figure

import jgmm
from experiments.metrics import Agreement, agreement, pooled
from experiments.segmentation_quality import DATA, photographs
from jgmm import plot
from jgmm.cli import runtime as _runtime
from jgmm.data.programs import program
from jgmm.image import read_image
from jgmm.image.features import extract

NdArray = npt.NDArray[Any]
Parameters = dict[str, jax.Array]

_MOST_SEGMENTS = 64  # that any person drew, of those that a photograph's samples meet


def features_of(path: Path) -> NdArray:
    """L*a*b* and position of every second pixel both ways [H, W, 5], positions from 0 to 1."""
    image = read_image(path).pixels[::2, ::2]
    rows, columns = np.indices(image.shape[:2]) / max(image.shape[:2])
    return np.concatenate(
        [extract(image, "lab"), np.stack([rows, columns], axis=-1)], axis=-1
    ).astype(np.float32)


def truths_of(path: Path) -> NdArray:
    """What people drew, on the same pixels [annotators, H, W]."""
    with np.load(path) as file:
        return np.asarray(file["segmentations"][:, ::2, ::2])


def prior_of(parameters: Parameters, x: Any) -> jgmm.Prior:
    """The prior of samples [N, 5]: as if ``dof`` of them had been seen of these widths."""
    dof = jnp.exp(parameters["log_dof"])
    widths = jnp.exp(parameters["log_widths"])[jnp.array([0, 1, 2, 3, 3])]
    return jgmm.Prior(
        concentration=jnp.ones_like(dof),
        mean=jnp.mean(x, axis=0),
        mean_strength=jnp.full_like(dof, 0.01),
        scale=dof * jnp.diag(widths**2),
        dof=dof,
    )


def soft_agreement(responsibilities: jax.Array, drawn: jax.Array, weight: jax.Array) -> jax.Array:
    """The adjusted Rand index of soft segments [N, K] with drawn ones [N], mean of annotators.

    Pairs count by the probability that both samples are in one segment (Hubert and Arabie 1985
    for hard ones). ``drawn`` is [A, N], ``weight`` [A] is 0 for annotators that are padding.
    """
    n = len(responsibilities)

    def one(labels: jax.Array) -> jax.Array:
        segments = jax.nn.one_hot(labels, _MOST_SEGMENTS, dtype=responsibilities.dtype)
        table = responsibilities.T @ segments
        both, mine, theirs = (
            jnp.sum(t**2) / n**2 for t in (table, jnp.sum(table, axis=1), jnp.sum(table, axis=0))
        )
        by_chance = mine * theirs
        return (both - by_chance) / ((mine + theirs) / 2 - by_chance)

    return jnp.sum(jax.vmap(one)(drawn) * weight) / jnp.sum(weight)


def objective(parameters: Parameters, k: int, x: Any, drawn: Any, weight: Any) -> jax.Array:
    """The agreement of one photograph's samples [N, 5] under a fit of k components."""
    found = jgmm.fit(x, k, prior=prior_of(parameters, x), tol=1e-7, max_iter=300)
    return soft_agreement(jgmm.responsibilities(found.mixture, x), drawn, weight)


@program("k")
def ascent(parameters: Parameters, k: int, batch: Any) -> tuple[jax.Array, Any, jax.Array]:
    """The mean agreement over photographs, its gradient, and how many of them gave one.

    One for which the equations of the derivative have no solution is left out.
    """
    one = partial(jax.value_and_grad(objective), parameters, k)
    values, slopes = jax.lax.map(lambda photograph: one(*photograph), batch)  # one after another
    finite = jnp.isfinite(values)
    for leaf in jax.tree.leaves(slopes):
        finite &= jnp.all(jnp.isfinite(leaf.reshape(len(leaf), -1)), axis=1)
    count = jnp.sum(finite)

    def mean(leaf: jax.Array) -> jax.Array:
        mask = finite.reshape(-1, *(1,) * (leaf.ndim - 1))
        return jnp.sum(jnp.where(mask, leaf, 0), axis=0) / jnp.maximum(count, 1)

    return jnp.mean(values), jax.tree.map(mean, slopes), count


def batch_of(pairs: Sequence[tuple[Path, Path]], scale: NdArray, n: int) -> Any:
    """Samples [P, n, 5], what people drew there [P, A, n], and which annotators are real [P, A]."""
    rng = np.random.default_rng(0)
    samples, drawn = [], []
    for photograph, truth in pairs:
        features, labels = features_of(photograph) / scale, truths_of(truth)
        chosen = rng.choice(features[..., 0].size, size=n)
        samples.append(features.reshape(-1, 5)[chosen])
        rows = labels.reshape(len(labels), -1)[:, chosen]
        compact = [np.unique(row, return_inverse=True)[1] for row in rows]
        drawn.append(np.minimum(np.stack(compact), _MOST_SEGMENTS - 1))
    most = max(len(rows) for rows in drawn)
    weight = np.array([[float(i < len(rows)) for i in range(most)] for rows in drawn], np.float32)
    padded = [np.pad(rows, ((0, most - len(rows)), (0, 0))) for rows in drawn]
    return jnp.asarray(np.stack(samples)), jnp.asarray(np.stack(padded)), jnp.asarray(weight)


def learn(
    pairs: Sequence[tuple[Path, Path]], held_out: Sequence[tuple[Path, Path]], k: int, **sizes: int
) -> dict[str, Any]:
    """Learn on ``pairs``; the curves of both sets, and the parameters before and after."""
    spread = [features_of(path).reshape(-1, 5).std(axis=0) for path, _ in pairs]
    scale = np.mean(spread, axis=0)  # every feature counts the same before
    scale[3:] = scale[3:].mean()
    training, test = (batch_of(those, scale, sizes["samples"]) for those in (pairs, held_out))
    parameters: Parameters = {
        "log_widths": jnp.full(4, np.log(0.5), jnp.float32),
        "log_dof": jnp.asarray(np.log(sizes["samples"] / 10), jnp.float32),
    }
    optimizer = optax.adam(0.06)
    memory = optimizer.init(parameters)
    start, curves = parameters, []
    for _ in range(sizes["steps"]):
        value, slope, count = ascent(parameters, k, training)
        curves.append((float(value), float(ascent(parameters, k, test)[0]), int(count)))
        updates, memory = optimizer.update(jax.tree.map(jnp.negative, slope), memory)
        parameters = optax.apply_updates(parameters, updates)
    return {"scale": scale, "before": start, "after": parameters, "curves": curves}


def labels_of(
    path: Path, parameters: Parameters | None, scale: NdArray, k: int, samples: int
) -> NdArray:
    """Labels of every second pixel; without parameters from the fit of maximum likelihood."""
    features = features_of(path) / scale
    x = features.reshape(-1, 5)
    # The prior was learned beside so many samples.
    weights = np.full(len(x), samples / len(x), np.float32)
    prior = None if parameters is None else prior_of(parameters, x)
    return np.asarray(jgmm.predict(jgmm.fit(x, k, weights=weights, prior=prior).mixture, features))


def main(arguments: Sequence[str] | None = None) -> int:
    """Learn, measure, print and draw; returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--data", type=Path, default=DATA, help="folder of ID.jpg and ID.npz")
    parser.add_argument("-o", "--output", type=Path, help="draw the figure to this PNG")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("-k", type=int, default=5, help="components")
    parser.add_argument("--steps", type=int, default=40, help="of Adam")
    parser.add_argument("--samples", type=int, default=1024, help="pixels of each photograph")
    parser.add_argument("--limit", type=int, default=None, help="only so many photographs")
    given = parser.parse_args(arguments)
    pairs = photographs(given.data)[: given.limit]
    if len(pairs) < 2:
        print(f"fewer than two photographs with annotations in {given.data}: nothing to learn from")
        return 0
    _runtime.prepare()
    begin = time.perf_counter()
    halves = pairs[::2], pairs[1::2]
    found: dict[str, list[Agreement]] = {"no prior": [], "before": [], "after": []}
    learned, pictures = [], []
    for mine, others in (halves, halves[::-1]):
        result = learn(mine, others, given.k, steps=given.steps, samples=given.samples)
        learned.append(result)
        kinds = {"no prior": None, "before": result["before"], "after": result["after"]}
        for photograph, drawn in others:
            truths = truths_of(drawn)
            shown = [iio.imread(photograph)[::2, ::2], truths[0]]
            for name, parameters in kinds.items():
                labels = labels_of(photograph, parameters, result["scale"], given.k, given.samples)
                found[name].append(agreement(labels, truths))
                shown.append(labels)
            pictures.append((found["after"][-1].pri - found["before"][-1].pri, shown))
    print(f"{len(pairs)} photographs, each measured with what the other half taught")
    print(f"k = {given.k}, {time.perf_counter() - begin:.0f} s\n\n{table(found)}\n")
    for result in learned:
        first, last = result["curves"][0], result["curves"][-1]
        print(f"soft agreement: learned on {first[0]:.3f} to {last[0]:.3f}, ", end="")
        print(f"other half {first[1]:.3f} to {last[1]:.3f}; gradients of at least ", end="")
        print(f"{min(row[2] for row in result['curves'])} of {len(halves[0])} photographs")
        after = {n: np.exp(np.asarray(leaf, float)) for n, leaf in result["after"].items()}
        print(f"dof {after['log_dof']:.0f}, ", end="")
        print(f"widths of L*, a*, b*, position {np.round(after['log_widths'], 2)}")
    if given.output:
        plot.save(draw(learned, pictures), given.output)
    if given.json:
        given.json.write_text(json.dumps(_plain(found, learned), indent=2) + "\n")
    return 0


def table(found: dict[str, list[Agreement]]) -> str:
    """The measures of the hard segments in Markdown, and for how many photographs PRI rose."""
    lines = ["| prior | covering ↑ | VoI ↓ | PRI ↑ |", "| --- | --- | --- | --- |"]
    for name, values in found.items():
        a = pooled(values)
        lines.append(f"| {name} | {a.covering:.3f} | {a.voi:.2f} | {a.pri:.3f} |")
    gains = [b.pri - a.pri for a, b in zip(found["before"], found["after"], strict=True)]
    rose = sum(gain > 0 for gain in gains)
    error = np.std(gains) / np.sqrt(len(gains))
    lines.append(f"\nPRI rose by {np.mean(gains):.3f} ± {error:.3f}, for {rose} of {len(gains)}")
    return "\n".join(lines)


def _plain(found: dict[str, list[Agreement]], learned: list[dict[str, Any]]) -> dict[str, Any]:
    measures = {name: vars(pooled(values)) for name, values in found.items()}
    return {
        "measures": measures,
        "learned": [jax.tree.map(lambda leaf: np.asarray(leaf).tolist(), r) for r in learned],
    }


def draw(learned: list[dict[str, Any]], pictures: list[Any]) -> Figure:
    """The learning curves, and the photographs of the lower, middle and upper quarter of gains."""
    figure = Figure(figsize=(11, 8.5), dpi=120, layout="constrained")
    grid = figure.add_gridspec(4, 5)
    axes = figure.add_subplot(grid[0, :])
    for i, result in enumerate(learned):
        training, test, _ = np.array(result["curves"]).T
        axes.plot(training, f"C{i}--", label=f"half {i + 1}, learned on")
        axes.plot(test, f"C{i}-", label=f"half {2 - i}, the same parameters")
    axes.set(xlabel="step", ylabel="soft adjusted Rand index")
    axes.legend(frameon=False)
    order = sorted(pictures, key=lambda pair: float(pair[0]))
    chosen = [order[len(order) * i // 4] for i in (3, 2, 1)]
    for row, (gain, shown) in enumerate(chosen, start=1):
        titles = ("photograph", "a person", "no prior", "before", f"after: PRI {gain:+.3f}")
        for column, (title, picture) in enumerate(zip(titles, shown, strict=False)):
            axes = figure.add_subplot(grid[row, column])
            axes.imshow(picture, cmap="tab20", interpolation="nearest")
            axes.set_title(title, fontsize=9)
            axes.set_axis_off()
    return figure


if __name__ == "__main__":
    raise SystemExit(main())
