"""Do Student-t components segment better, and when? Images with dust and dead pixels put in.

    python -m experiments.heavy_tails [--data DIR] [-k 5] [--limit N]

Three questions, a table for each. What came of it is in NOTES-heavy-tails.md.

- Do labels stay? A fit to the damaged image and one of the same kind to the clean one, both from
  their own starts, label the pixels that are clean: how many of them change?
- Do labels agree more with what people drew (photographs with annotations, as in
  `experiments.segmentation_quality`)?
- Where the truth is known: an image of flat regions under noise of this or that kind.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

import jgmm
from experiments.metrics import Agreement, agreement, pooled
from experiments.noise import DATA, FLOOR, dead, dust, random_colours
from experiments.segmentation_quality import photographs
from jgmm.image import read_image

NdArray = npt.NDArray[Any]
Damage = Callable[[NdArray, float, np.random.Generator], NdArray]

KINDS: dict[str, dict[str, Any]] = {
    "Gaussian": {},
    "Gaussian, k + 1": {"more": 1},
    "Student-t": {"distribution": "student_t"},
    "Student-t, shared": {"distribution": "student_t", "degrees_of_freedom": "shared"},
    "Student-t, 4": {"distribution": "student_t", "degrees_of_freedom": 4.0},
    "Student-t, 4, k + 1": {"more": 1, "distribution": "student_t", "degrees_of_freedom": 4.0},
}
_DAMAGES: tuple[tuple[str, Damage, float], ...] = (
    ("random colours, 1%", random_colours, 0.01),
    ("random colours, 5%", random_colours, 0.05),
    ("dead pixels, 1%", dead, 0.01),
    ("dead pixels, 5%", dead, 0.05),
    ("dust, 1%", dust, 0.01),
)


def damaged(image: NdArray, damage: Damage, share: float) -> NdArray:
    """An image [H, W, C] after damage of so large a share of it; of grey ones the first channel."""
    colours = np.broadcast_to(image, (*image.shape[:2], 3))
    return damage(colours, share, np.random.default_rng(0))[..., : image.shape[2]]


DAMAGES: dict[str, Callable[[NdArray], NdArray]] = {
    name: partial(damaged, damage=damage, share=share) for name, damage, share in _DAMAGES
}
N_IMAGES = 20  # of known truth
MICROGRAPHS = ("cell", "ihc", "microaneurysms")  # of scikit-image


def fit(image: NdArray, k: int, more: int = 0, **options: Any) -> jgmm.Mixture:
    """The mixture of an image [H, W, C] in [0, 1], by a search from k-means."""
    x = np.asarray(image, np.float32).reshape(-1, image.shape[-1])
    floor = FLOOR / np.maximum(x.var(axis=0), FLOOR)
    return jgmm.fit(x, k + more, reg_covar=floor, **options).mixture


def paired(mixture: jgmm.Mixture, truth: jgmm.Mixture, x: NdArray) -> jgmm.Mixture:
    """Components of the first that share most pixels with those of the second, in their order."""
    table = np.zeros((mixture.n_components, truth.n_components))
    np.add.at(table, (np.asarray(jgmm.predict(mixture, x)), np.asarray(jgmm.predict(truth, x))), 1)
    rows, columns = linear_sum_assignment(-table)
    order = rows[np.argsort(columns)]
    dof = mixture.degrees_of_freedom
    return dataclasses.replace(
        mixture,
        weights=mixture.weights[order] / mixture.weights[order].sum(),
        means=mixture.means[order],
        covariances=mixture.covariances[order],
        degrees_of_freedom=None if dof is None else dof[order],
    )


def stability(image: NdArray, k: int) -> dict[tuple[str, str], tuple[float, float]]:
    """For each damage and kind: labels of clean pixels that change (%), and how far means move.

    The latter in levels of 8 bits, of components as their weights.
    """
    found: dict[tuple[str, str], tuple[float, float]] = {}
    for kind, options in KINDS.items():
        truth = fit(image, k, **{**options, "more": 0})
        for name, damage in DAMAGES.items():
            hurt = damage(image).astype(np.float32)
            clean = image[(hurt == image).all(axis=-1)]
            mixture = paired(fit(hurt, k, **options), truth, clean)
            before, after = (np.asarray(jgmm.predict(m, clean)) for m in (truth, mixture))
            gaps = np.sum(np.asarray(mixture.means - truth.means) ** 2, axis=1)
            moved = 255 * float(np.sqrt(np.asarray(truth.weights) @ gaps))
            found[name, kind] = 100 * float(np.mean(before != after)), moved
    return found


def drawn(pairs: Sequence[tuple[Path, Path]], k: int) -> dict[tuple[str, str], Agreement]:
    """For each damage and kind: how labels agree with what people drew."""
    found: dict[tuple[str, str], list[Agreement]] = {}
    for photograph, people in pairs:
        image = halved(read_image(photograph).pixels)
        with np.load(people) as file:
            truths = file["segmentations"][:, ::2, ::2]
        for name, damage in {"none": lambda image: image, **DAMAGES}.items():
            pixels = np.rint(255 * damage(image)).astype(np.uint8)
            for kind, options in KINDS.items():
                if "more" in options:
                    continue
                labels = jgmm.segment(pixels, k, features="lab", **options).labels
                found.setdefault((name, kind), []).append(agreement(labels, truths))
    return {key: pooled(values) for key, values in found.items()}


NOISES: dict[str, Callable[[np.random.Generator, tuple[int, ...]], NdArray]] = {
    "normal": lambda rng, shape: rng.normal(size=shape),
    "t of 3": lambda rng, shape: rng.standard_t(3, shape),
    "t of 2": lambda rng, shape: rng.standard_t(2, shape),
    "2% of 10 times the width": lambda rng, shape: (
        rng.normal(size=shape) * np.where(rng.random((*shape[:2], 1)) < 0.02, 10, 1)
    ),
    "5% of 10 times the width": lambda rng, shape: (
        rng.normal(size=shape) * np.where(rng.random((*shape[:2], 1)) < 0.05, 10, 1)
    ),
}


def known() -> dict[tuple[str, str], tuple[float, float]]:
    """Of images of three flat regions, for each noise and kind: labels that are wrong (%).

    Median and worst of the images.
    """
    found: dict[tuple[str, str], list[float]] = {}
    for name, noise in NOISES.items():
        for seed in range(N_IMAGES):
            rng = np.random.default_rng(seed)
            colours = np.array([[0.3, 0.3, 0.3], [0.5, 0.4, 0.3], [0.4, 0.5, 0.5]])
            truth = np.repeat(np.searchsorted([30, 70], np.arange(100), side="right")[None], 100, 0)
            image = colours[truth] + 0.03 * noise(rng, (100, 100, 3))
            for kind, options in KINDS.items():
                mixture = fit(image, 3, **options)
                labels = np.asarray(jgmm.predict(mixture, image.astype(np.float32)))
                table = np.zeros((mixture.n_components, 3))
                np.add.at(table, (labels.ravel(), truth.ravel()), 1)
                rows, columns = linear_sum_assignment(-table)
                wrong = 1 - table[rows, columns].sum() / truth.size
                found.setdefault((name, kind), []).append(100 * float(wrong))
    return {key: (float(np.median(v)), max(v)) for key, v in found.items()}


def halved(pixels: NdArray) -> NdArray:
    """Every second pixel of every second row, in [0, 1]."""
    return pixels[::2, ::2].astype(np.float32) / np.float32(255)


def micrographs() -> list[NdArray]:
    """Those of scikit-image, in [0, 1]."""
    from skimage import data

    folder = Path(data.__file__).parent
    return [halved(read_image(folder / f"{name}.png").pixels) for name in MICROGRAPHS]


def print_table(
    title: str, names: Sequence[str], rows: Mapping[tuple[str, str], Sequence[Any]]
) -> None:
    """A table in Markdown."""
    print(f"\n{title}\n\n| | fit | " + " | ".join(names) + " |")
    print("| --- " * (2 + len(names)) + "|")
    for (name, kind), values in rows.items():
        print(f"| {name} | {kind} | " + " | ".join(f"{value:.3g}" for value in values) + " |")


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("-k", type=int, default=5)
    parser.add_argument("--limit", type=int, default=8, help="photographs")
    given = parser.parse_args(arguments)
    paths = sorted(given.data.rglob("*.jpg"))
    paths = paths[:: max(1, len(paths) // given.limit)][: given.limit]
    groups = {
        f"{len(paths)} photographs": [halved(read_image(path).pixels) for path in paths],
        f"{len(MICROGRAPHS)} micrographs": micrographs(),
    }
    for title, images in groups.items():
        every = [stability(image, given.k) for image in images]
        rows = {
            key: [f([one[key][i] for one in every]) for i in (0, 1) for f in (np.median, np.mean)]
            for key in ((name, kind) for name in DAMAGES for kind in KINDS)
        }
        names = ("labels changed (%), median", "mean", "means moved (levels), median", "mean")
        print_table(title, names, rows)
    pairs = [
        (path, path.with_suffix(".npz")) for path in paths if path.with_suffix(".npz").exists()
    ]
    pairs = pairs or photographs(given.data)[: given.limit]
    if pairs:
        agreements = {key: (a.covering, a.voi, a.pri) for key, a in drawn(pairs, given.k).items()}
        title = f"What people drew, {len(pairs)} photographs"
        print_table(title, ("covering", "VoI (bits)", "PRI"), agreements)
    title = f"Known truth, {N_IMAGES} images"
    print_table(title, ("labels wrong (%), median", "worst"), known())


if __name__ == "__main__":
    main()
