"""A film of EM: the segmentation and the learning curve, step by step."""

from __future__ import annotations

import dataclasses
import importlib.util
import math
import tempfile
from pathlib import Path
from typing import Any

import jax
import numpy as np
import numpy.typing as npt

from jgmm._atomic import write_whole
from jgmm.cli.options import JobError, Options
from jgmm.fitting.replay import Replay, replay
from jgmm.image.display import Display
from jgmm.image.samples import Samples
from jgmm.image.segmentation import Segmentation, segmentation_by

NdArray = npt.NDArray[Any]
KINDS = ("gif", "mp4")
_WIDEST, _NARROWEST, _TALLEST = 640, 320, 640  # pixels of the picture
_CURVE = 176  # rows of the strip below it
_SECONDS, _LAST_SECONDS = 0.2, 2.5  # for which a frame is seen
_PAPER = 255
_HEADING = 7  # points, where there is room for it


@dataclasses.dataclass(frozen=True)
class Film:
    """What a film shows: pictures [H, W, 3] uint8 at steps of a replay, and the fit at the end."""

    told: Replay
    pictures: list[NdArray]
    end: NdArray  # the segmentation that the run wrote
    reached: float  # its objective, in nats per pixel


def refuse_unknown_plugins(kind: str | None) -> None:
    """Raise a JobError where a film of such a kind cannot be written."""
    if kind == "mp4" and importlib.util.find_spec("imageio_ffmpeg") is None:
        raise JobError(
            "--animate mp4: expected imageio's plugin for ffmpeg, which is not installed: "
            "pip install imageio-ffmpeg, or take --animate gif"
        )


def film_of(samples: Samples, found: Segmentation, show: Display, options: Options) -> Film:
    """EM run again from one start, and the segmentation of the image at its steps.

    Labels are inferred and joined as those of the run are.
    """
    told = replay(
        samples.features,
        found.fit.mixture.n_components,
        key=jax.random.key(options.seed),
        weights=samples.weights,
        labels=samples.labels,
        covariance_type=options.covariance,
        **options.distributed,
        tol=options.tol,
        reg_covar=samples.floor,
        max_iter=min(options.max_iter, 200),
    )
    size = found.labels.shape
    opaque = Display(show.black, show.white)

    def picture(cut: Segmentation) -> NdArray:
        colours = opaque(cut.image)
        colours[cut.labels < 0] = _PAPER
        return _sized(colours, size)

    pictures = [
        picture(segmentation_by(mixture, samples, options.spatial)) for mixture in told.mixtures
    ]
    return Film(told, pictures, picture(found), float(found.fit.objective))


def draw_film(film: Film, name: str, path: Path) -> None:
    """Write a film as GIF or MP4, by the suffix of the path; whole or not at all."""
    width = film.end.shape[1]
    strips = _strips(film, name, width)
    frames = [np.vstack(pair) for pair in zip([*film.pictures, film.end], strips, strict=True)]
    seconds = [_SECONDS] * len(film.pictures) + [_LAST_SECONDS]
    seconds[0] = 4 * _SECONDS
    write_whole(path, (_mp4 if path.suffix == ".mp4" else _gif)(frames, seconds))


def _strips(film: Film, name: str, width: int) -> list[NdArray]:
    """The learning curve below each picture [H, W, 3], as far as it has come."""
    from matplotlib.figure import Figure

    from jgmm import plot
    from jgmm.plot._canvas import DPI, INK, MUTED, literal

    history = film.told.history
    figure = Figure(figsize=(width / DPI, _CURVE / DPI), dpi=DPI, facecolor="white")
    axes = figure.add_axes((0.17, 0.19, 0.79, 0.6))
    later = history[1:] if len(history) > 1 else history
    low, high = float(min(later.min(), film.reached)), float(max(history.max(), film.reached))
    if history[0] > low - 3 * (high - low):  # else the start would squash the rest
        low = min(low, float(history[0]))
    room = 0.08 * (high - low) or 0.01 * max(abs(high), 1.0)
    last = len(history) - 1
    axes.set(xlim=(-0.02 * last, 1.02 * max(last, 1)), ylim=(low - room, high + room))
    axes.axhline(film.reached, color=MUTED, lw=0.8, ls=(0, (4, 3)))
    (line,) = axes.plot([], [], color=plot.PALETTE[0], lw=1.5)
    (dot,) = axes.plot([], [], "o", color=plot.PALETTE[0], ms=4)
    axes.tick_params(labelsize=6, length=0, labelcolor=MUTED)
    axes.ticklabel_format(axis="y", useOffset=False)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#cccccc")
    heading = figure.text(0.03, 0.88, "", color=INK)
    canvas: Any = figure.canvas
    if not hasattr(canvas, "buffer_rgba"):
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        canvas = FigureCanvasAgg(figure)
    strips = []
    k = film.told.mixtures[0].n_components
    for step in (*film.told.steps, None):
        if step is None:
            said = f"k = {k}, the fit of this run (dashed): {film.reached:.4f} nats"
        else:
            said = f"k = {k}, step {step} of EM: {history[step]:.4f} nats"
            line.set_data(np.arange(step + 1), history[: step + 1])
            dot.set_data([step], [history[step]])
        heading.set(**literal(said), fontsize=_HEADING)
        wide = heading.get_window_extent(canvas.get_renderer()).width
        room = figure.bbox.width * (1 - 2 * heading.get_position()[0])
        if wide > room:  # of a narrow picture
            heading.set_fontsize(_HEADING * room / wide)
        canvas.draw()
        strips.append(np.array(canvas.buffer_rgba())[..., :3])
    return strips


def _sized(picture: NdArray, shape: tuple[int, ...]) -> NdArray:
    """A picture of even width and height that fits a film, by whole numbers of pixels."""
    height, width = shape
    every = max(1, math.ceil(max(width / _WIDEST, height / _TALLEST)))
    times = max(1, min(_NARROWEST // width, _TALLEST // height))
    small = picture[::every, ::every].repeat(times, 0).repeat(times, 1)
    rows, columns = small.shape[:2]
    wide = max(_NARROWEST, columns + columns % 2)
    made = np.full((rows + rows % 2, wide, 3), _PAPER, np.uint8)
    left = (wide - columns) // 2
    made[:rows, left : left + columns] = small
    return made


def _gif(frames: list[NdArray], seconds: list[float]) -> bytes:
    import imageio.v3 as iio

    milliseconds = [1000 * s for s in seconds]
    made: bytes = iio.imwrite("<bytes>", frames, extension=".gif", duration=milliseconds, loop=0)
    return made


def _mp4(frames: list[NdArray], seconds: list[float]) -> bytes:
    import imageio.v2 as iio

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "film.mp4")
        rate = 1 / _SECONDS
        shown = zip(frames, seconds, strict=True)
        held = (frame for frame, length in shown for _ in range(round(length * rate)))
        with iio.get_writer(path, fps=rate, macro_block_size=2, format="FFMPEG") as opened:
            writer: Any = opened
            for frame in held:
                writer.append_data(frame)
        return path.read_bytes()
