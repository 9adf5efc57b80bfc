"""The frames of a GIF or video, cut into segments whose labels stay the same from frame to frame.

    python -m experiments.video [IN.gif] [OUT.gif] [-k 5] [--features lab] [--beside]

Each frame is fitted from the mixture of the one before, so that component 3 is still what it was.
No component is narrower than what light may change from one frame to the next (`LIGHT`). Without
that flat parts, such as a sky, have components of less than a grey level: a sky one level darker
then lowers the likelihood by more than another scene does, and the fit goes elsewhere. Where a
frame is another scene (its likelihood under the mixture of the one before falls by more than
`CUT`) a fit starts afresh. A component keeps its label while it stays near itself (Bhattacharyya
distance below `FAR`); one that went elsewhere, or comes from a fresh start, takes the label of the
nearest that was ever seen, or else a new one. So what leaves the picture and comes back has the
label that it had. Of components nearer than `NEAR`, as where there are more than a frame has things
to show, the one is shown that was there first. A label is shown in the mean colour that it had at
first.

What it writes is up to the end of the name: GIF always, MP4 where imageio-ffmpeg is installed.
Without IN it makes up a short film.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import numpy.typing as npt

import jgmm
from jgmm.image.samples import Samples, samples_of, spread

NdArray = npt.NDArray[Any]
CUT = 1.0  # nats per pixel; light that fades by 3% a frame takes 0.75, other scenes 0.8 to 80
FAR = 2.0  # nothing in common is infinity; 2 is two equal components 4 deviations apart
NEAR = 0.35  # 1.7 deviations apart; of those of photographs few are below
LIGHT = 0.07  # of the deviation of the features
LEAST = 1e-3  # share of the pixels, with which components wait for what is theirs


@dataclasses.dataclass
class Tracker:
    """What is known of a film so far.

    Attributes:
        k: components in each frame.
        features: of pixels, by name.
        seen: mean and covariance of each label that ever was, as last seen.
        colours: of each label, when it first was; in 8 bits.
        labels: of the components of the frame before.
        fit: of the frame before.
        fresh: how many frames had a fresh start.
    """

    k: int
    features: str = "rgb"
    seen: list[tuple[NdArray, NdArray]] = dataclasses.field(default_factory=list)
    colours: list[NdArray] = dataclasses.field(default_factory=list)
    labels: NdArray = dataclasses.field(default_factory=lambda: np.zeros(0, int))
    fit: jgmm.FitResult | None = None
    fresh: int = 0

    def __call__(self, frame: NdArray) -> NdArray:
        """The label of each pixel [H, W] of the next frame [H, W, 3], uint8."""
        samples = samples_of(frame, self.features)
        fit = self._fitted(samples)
        found = np.asarray(jgmm.predict(fit, samples.features))
        shares = np.bincount(found, samples.weights, self.k) / samples.weights.sum()
        self.labels = self._named(fit.mixture, shares)
        self.fit = fit
        own = spread(samples, self.labels[found], -1)
        for label in range(len(self.colours), len(self.seen)):
            there = own == label
            colour = frame[there].mean(axis=0) if there.any() else frame.mean(axis=(0, 1))
            self.colours.append(np.rint(colour).astype(np.uint8))
        return spread(samples, self._shown(fit.mixture)[found], -1)

    def picture(self, labels: NdArray) -> NdArray:
        """Labels [H, W] in the colours of the labels [H, W, 3]."""
        return np.stack(self.colours)[labels]

    def _fitted(self, samples: Samples) -> jgmm.FitResult:
        options: dict[str, Any] = {
            "weights": samples.weights,
            "reg_covar": np.maximum(samples.floor, np.float32(LIGHT**2)),
        }
        with warnings.catch_warnings():  # frames may well have fewer colours than components
            warnings.simplefilter("ignore", jgmm.FitWarning)
            if self.fit is not None:
                before = self.fit.mixture
                weights = np.maximum(np.asarray(before.weights), LEAST)
                start = dataclasses.replace(before, weights=weights / weights.sum())
                score = jgmm.score(start, samples.features, samples.weights)
                if float(score) > float(self.fit.log_likelihood) - CUT:
                    warm: dict[str, Any] = {"init": start, "search": "none", "short_runs": False}
                    return jgmm.fit(samples.features, self.k, **warm, **options)
            self.fresh += 1
            return jgmm.fit(samples.features, self.k, order="weight", **options)

    def _named(self, mixture: jgmm.Mixture, shares: NdArray) -> NdArray:
        """The label [K] of each component; those that no pixel has wait as they were."""
        means = np.asarray(mixture.means, np.float64)
        full = np.asarray(mixture.covariances, np.float64)
        labels = np.full(self.k, -1)
        for i, label in enumerate(self.labels):  # who stays
            if shares[i] < LEAST or self._distance(label, means[i], full[i]) < FAR:
                labels[i] = label
        free = [label for label in range(len(self.seen)) if label not in labels]
        pairs = sorted(
            (self._distance(label, means[i], full[i]), i, label)
            for i in range(self.k)
            for label in free
            if labels[i] < 0
        )
        for distance, i, label in pairs:  # who is back
            if distance < FAR and labels[i] < 0 and label not in labels:
                labels[i] = label
        for i in range(self.k):  # who is new
            if labels[i] >= 0:
                continue
            labels[i] = len(self.seen)
            self.seen.append((means[i], full[i]))
        for i, label in enumerate(labels):
            if shares[i] >= LEAST:
                self.seen[label] = means[i], full[i]
        return labels

    def _shown(self, mixture: jgmm.Mixture) -> NdArray:
        """The label [K] that each component is shown with, given that of each."""
        full = np.asarray(mixture.covariances, np.float64)
        about = list(zip(self.labels, np.asarray(mixture.means, np.float64), full, strict=True))
        return np.array(
            [
                min(m for m in self.labels if m == label or self._distance(m, mean, cov) < NEAR)
                for label, mean, cov in about
            ]
        )

    def _distance(self, label: int, mean: NdArray, covariance: NdArray) -> float:
        """The Bhattacharyya distance of a component from one that had the label."""
        gap = mean - self.seen[label][0]
        one, other = self.seen[label][1], covariance
        both = (one + other) / 2
        logs = [np.linalg.slogdet(m)[1] for m in (both, one, other)]
        return float(gap @ np.linalg.solve(both, gap) / 8 + (logs[0] - (logs[1] + logs[2]) / 2) / 2)


def film(n: int = 12, seed: int = 0) -> Iterator[NdArray]:
    """A made-up film [48, 64, 3]: a red disc crosses a meadow, a blue one comes and goes twice."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:48, :64]
    for t in range(n):
        frame = np.where((y < 18)[..., None], (150, 190, 230), (70, 140, 60)).astype(float)
        frame[(y - 30) ** 2 + (x - 8 - 4 * t) ** 2 < 64] = 200, 40, 40
        if t % 6 >= 3:
            frame[(y - 9) ** 2 + (x - 50) ** 2 < 49] = 30, 30, 150
        yield np.clip(np.rint(rng.normal(frame, 5.0)), 0, 255).astype(np.uint8)


def segmented(frames: Iterable[NdArray], tracker: Tracker) -> Iterator[tuple[NdArray, NdArray]]:
    """Each frame and its segments, both [H, W, 3]."""
    for frame in frames:
        yield frame, tracker.picture(tracker(frame))


def read(path: Path) -> tuple[Iterator[NdArray], float]:
    """The frames [H, W, 3] of a film, one after the other, and the seconds that each is shown."""
    about = iio.immeta(path)
    seconds = about.get("duration", 0) / 1000 if path.suffix.lower() == ".gif" else 1 / about["fps"]
    frames = (np.asarray(frame)[..., :3] for frame in iio.imiter(path))
    return frames, float(seconds) or 0.1


def write(path: Path, frames: Sequence[NdArray], seconds: float) -> None:
    """Write an animation."""
    if path.suffix.lower() == ".gif":
        iio.imwrite(path, frames, duration=1000 * seconds, loop=0)
        return
    # Codecs take even sizes only.
    even = [frame[: len(frame) // 2 * 2, : frame.shape[1] // 2 * 2] for frame in frames]
    iio.imwrite(path, even, fps=1 / seconds, macro_block_size=2)


def main(given: Sequence[str] | None = None) -> int:
    """Segment a film."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("source", type=Path, nargs="?", metavar="IN")
    parser.add_argument("output", type=Path, nargs="?", metavar="OUT", default=Path("video.gif"))
    parser.add_argument("-k", type=int, default=5, help="components in each frame")
    parser.add_argument("--features", default="rgb", help="rgb, lab, hsv or gray")
    parser.add_argument("--beside", action="store_true", help="the film beside its segments")
    options = parser.parse_args(given)
    try:
        return _run(options)
    except (OSError, ValueError, ImportError) as error:  # of files and of what is asked for
        print(f"video: {' '.join(str(error).split())}", file=sys.stderr)  # noqa: T201
        return 2


def _run(options: argparse.Namespace) -> int:
    frames, seconds = (film(), 0.15) if options.source is None else read(options.source)
    tracker = Tracker(options.k, options.features)
    shown = []
    for i, (frame, picture) in enumerate(segmented(frames, tracker)):
        shown.append(np.hstack([frame, picture]) if options.beside else picture)
        names = " ".join(map(str, sorted(tracker.labels.tolist())))
        print(f"frame {i + 1}: labels {names}")  # noqa: T201
    write(options.output, shown, seconds)
    print(f"{len(tracker.seen)} labels, {tracker.fresh} fresh starts; wrote {options.output}")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
