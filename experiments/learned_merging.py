"""Regions merged by learned weights, measured on photographs that had no part in learning them.

    python -m experiments.learned_merging --data DIR [--json FILE]

DIR holds photographs and what people drew, as `experiments.segmentation_quality` takes them. Each
is cut into the regions of the recommended settings before merging. Then neighbours are merged one
pair after the other, in two ways: by the cost that jgmm has, and by how likely the two are one to
people, which a logistic regression tells from what is known of a pair: that cost, colours, the step
at the border, posteriors of the mixture, textons (posteriors of a mixture of filter responses),
sizes. It is fitted, and the scale chosen, on one half of the photographs, and measured on the
other, both ways. What came of it is in NOTES-segmentation.md.
"""

from __future__ import annotations

import argparse
import heapq
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter

import jgmm
from experiments.region_pairs import NAMES, Regions
from experiments.segmentation_quality import DATA, photographs
from jgmm.cli import runtime as _runtime
from jgmm.image import RECOMMENDED, read_image
from jgmm.image.borders import borders, local_means
from jgmm.image.samples import comparable_colours, samples_of, spread
from jgmm.image.texture import with_texture

NdArray = npt.NDArray[Any]
Score = Callable[[NdArray], NdArray]  # of pairs [P, F], the lower the sooner they are merged
Heard = Callable[[Regions, int, int, NdArray], None]
_TEXTONS = 24
_COSTS, _LOGITS = np.linspace(0, 3.4, 40), np.linspace(-5, 5, 51)


def merge(
    regions: Regions, score: Score, scales: Sequence[float] = (), heard: Heard | None = None
) -> NdArray:
    """Merge neighbours, those of the lowest score first; the agreement at each scale [S, 4]."""
    now, ages = regions.copy(), [0] * len(regions.size)
    queue: list[tuple[float, int, int, int, int]] = []

    def look(i: int) -> None:
        if now.near[i]:
            others = list(now.near[i])
            scores = score(now.features(i, others))
            best = int(np.argmin(scores))
            j = others[best]
            heapq.heappush(queue, (float(scores[best]), i, j, ages[i], ages[j]))

    for i in range(len(ages)):
        look(i)
    found: list[list[float]] = []
    while queue:
        value, i, j, age_i, age_j = heapq.heappop(queue)
        if ages[i] != age_i:
            continue
        if ages[j] != age_j:
            look(i)
            continue
        while len(found) < len(scales) and scales[len(found)] <= value:
            found.append(now.agreement())
        if heard is not None:
            for k in now.near[i]:
                heard(now, i, k, now.features(i, [k])[0])
        ages[i] += 1
        ages[j] += 1
        look(now.join(i, j))
    found += [now.agreement()] * (len(scales) - len(found))
    return np.array(found)


def by_cost(features: NdArray) -> NdArray:
    """The order that jgmm has."""
    return features[:, 0]


def learned(parts: Sequence[Regions], columns: Sequence[int], n_rounds: int = 2) -> Score:
    """A score from weights that fit what people drew, of pairs met on the way that it leads."""
    pairs: list[tuple[NdArray, float, float]] = []

    def heard(now: Regions, i: int, j: int, features: NdArray) -> None:
        weight = math.sqrt(min(now.size[i], now.size[j])) / now.root
        pairs.append((features[list(columns)], now.together(i, j), weight))

    score: Score = by_cost
    for _ in range(n_rounds):
        for regions in parts:
            merge(regions, score, heard=heard)
        x, y, w = (np.array(column) for column in zip(*pairs, strict=True))
        logit = logistic(x, y, w)
        score = lambda features: -logit(features[:, list(columns)])  # noqa: B023, E731
    return score


def logistic(x: NdArray, y: NdArray, w: NdArray, ridge: float = 3.0) -> Score:
    """The logit of shares y [N] given x [N, F], by Newton's method with weights and a ridge."""
    mean = np.average(x, axis=0, weights=w)
    scale = np.sqrt(np.average((x - mean) ** 2, axis=0, weights=w)) + 1e-9
    z = np.column_stack([(x - mean) / scale, np.ones(len(x))])
    w, beta = w / w.mean(), np.zeros(z.shape[1])
    penalty = ridge * np.diag([*np.ones(x.shape[1]), 1e-6])
    for _ in range(50):
        p = 1 / (1 + np.exp(-z @ beta))
        slope = z.T @ (w * (p - y)) + penalty @ beta
        step = np.linalg.solve((z * (w * p * (1 - p))[:, None]).T @ z + penalty, slope)
        beta -= step
        if np.abs(step).max() < 1e-8:
            break
    return lambda more: (more - mean) / scale @ beta[:-1] + beta[-1]


def held_out(chosen: NdArray, measured: NdArray) -> list[float]:
    """Each measure [S, 3] at its best scale of ``chosen``, on what is ``measured``."""
    a, b = (_pooled(agreements) for agreements in (chosen, measured))
    best = (a[:, 0].argmax(), a[:, 1].argmin(), a[:, 2].argmax())
    return [float(b[scale, which]) for which, scale in enumerate(best)]


def _pooled(agreements: NdArray) -> NdArray:
    """Of photographs [N, S, 4] the three measures [S, 3]; see `experiments.metrics.pooled`."""
    pixels = agreements[:, :1, 3]
    covering = (agreements[:, :, 0] * pixels).sum(axis=0) / pixels.sum()
    return np.column_stack([covering, agreements[:, :, 1:3].mean(axis=0)])


def filtered(lightness: NdArray) -> NdArray:
    """Responses to edges, spots and bars of three sizes [H, W, 9]."""
    bands = []
    for s in (1, 2, 4):
        x, y, xx, yy, xy = (
            s ** sum(order) * gaussian_filter(lightness, s, order=order)
            for order in ((0, 1), (1, 0), (0, 2), (2, 0), (1, 1))
        )
        spot = xx + yy
        bands += [np.log1p(np.hypot(x, y)), np.sign(spot) * np.log1p(np.abs(spot))]
        bands.append(np.log1p(np.hypot((xx - yy) / 2, xy)))
    return np.stack(bands, axis=-1).astype(np.float32)


def prepared(pairs: Sequence[tuple[Path, Path]]) -> list[Regions]:
    """The photographs cut into regions, with all that is known of these."""
    settings = dict(RECOMMENDED) | {"merge": 0.0}
    cuts = [jgmm.segment(photograph, 10, **settings) for photograph, _ in pairs]
    colours = [comparable_colours(cut.original, cut.labels >= 0) for cut in cuts]
    responses = [filtered(np.asarray(c[..., 0], np.float32)) for c in colours]
    flat = [r.reshape(-1, r.shape[-1]) for r in responses]
    textons = jgmm.fit(np.concatenate([f[::51] for f in flat]), _TEXTONS, covariance_type="diag")
    found = []
    for (photograph, drawn), cut, lab, bands in zip(pairs, cuts, colours, flat, strict=True):
        samples, parts = samples_of(read_image(photograph), "lab"), cut.regions
        told = jgmm.responsibilities(cut.fit, samples.features)
        posteriors = spread(samples, np.asarray(told), 0)
        values = with_texture(lab, parts >= 0)
        n, index = int(parts.max()) + 1, parts.ravel()

        def summed(pixels: Any, n: int = n, index: NdArray = index) -> NdArray:
            columns = np.asarray(pixels, np.float64).reshape(len(index), -1).T
            return np.stack([np.bincount(index, column, minlength=n) for column in columns], -1)

        sums = {
            "size": summed(np.ones(parts.shape)),
            "colours": summed(values),
            "squares": summed(np.asarray(values, np.float64) ** 2),
            "posteriors": summed(posteriors),
            "textons": summed(jgmm.responsibilities(textons, jnp.asarray(bands))),
        }
        with np.load(drawn) as file:
            truths = [np.unique(t, return_inverse=True)[1].ravel() for t in file["segmentations"]]
        tables = [
            np.bincount(index * (t.max() + 1) + t, minlength=n * (t.max() + 1)).reshape(n, -1)
            for t in truths
        ]
        at_borders = borders(parts, local_means(values, parts >= 0), n)
        found.append(Regions(sums, np.column_stack(at_borders), tables))
    return found


def study(parts: Sequence[Regions], columns: Sequence[int], seeds: int) -> dict[str, Any]:
    """Both ways on halves, drawn anew for each seed: the means of what was held out."""
    costs = np.stack([merge(regions, by_cost, _COSTS.tolist()) for regions in parts])
    rows: dict[str, list[list[float]]] = {"by cost": [], "learned": []}
    for seed in range(seeds):
        order = np.random.default_rng(seed).permutation(len(parts))
        halves = order[: len(order) // 2], order[len(order) // 2 :]
        for one, other in (halves, halves[::-1]):
            score = learned([parts[i] for i in one], columns)
            at = [merge(regions, score, _LOGITS.tolist()) for regions in parts]
            agreements = np.stack(at)
            rows["by cost"].append(held_out(costs[one], costs[other]))
            rows["learned"].append(held_out(agreements[one], agreements[other]))
    return {name: np.mean(values, axis=0).tolist() for name, values in rows.items()}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the study, and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--limit", type=int, help="of photographs")
    parser.add_argument("--seeds", type=int, default=3, help="ways to halve them")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    pairs = photographs(options.data)[: options.limit]
    if len(pairs) < 2:
        print(f"nothing to measure in {options.data}")
        return 0
    _runtime.prepare()
    found = study(prepared(pairs), range(len(NAMES)), options.seeds)
    print("| merged | covering | VoI (bits) | PRI |\n| --- | --- | --- | --- |")
    for name, (covering, voi, pri) in found.items():
        print(f"| {name} | {covering:.3f} | {voi:.2f} | {pri:.3f} |")
    if options.json is not None:
        options.json.write_text(json.dumps(found, indent=2))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
