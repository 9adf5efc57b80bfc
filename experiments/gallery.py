"""A gallery: seven kinds of images, the one command that segments each, and what comes of it.

    python -m experiments.gallery [-o DIR] [--only NAME] [--figure FILE]

Writes the images, the results of the commands and a page, ``DIR/index.html``, which shows them side
by side. The images are samples of scikit-image that come with it, a shared photograph
where there is one, and two that are made here: a scan with noise, from its phantom, and a scene
of six bands, from spectra such as water, plants, soil, towns and sand have.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from jgmm.cli import app
from jgmm.image import read_image, write_png
from jgmm.image.display import display_of

NdArray = npt.NDArray[Any]
SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@dataclass(frozen=True)
class Exhibit:
    """An image, and how it is segmented."""

    name: str
    title: str
    make: Callable[[], str]  # writes the image into the folder that one is in; its name
    options: str
    about: str

    @property
    def k(self) -> str:
        """The number of segments."""
        words = self.options.split()
        return words[words.index("-k") + 1]


def landscape() -> str:
    """The shared photograph of a road, or a rocket on its pad."""
    shared = SHARED / "scenery.jpg"
    if shared.is_file():
        Path("landscape.jpg").write_bytes(shared.read_bytes())
        return "landscape.jpg"
    return sample("rocket", "landscape.png")


def sample(name: str, path: str) -> str:
    """A sample of scikit-image that comes with it."""
    from skimage import data

    write_png(path, getattr(data, name)())
    return path


def retina() -> str:
    """An eye, every third pixel of it, and a mask of what is not black around it."""
    from skimage import data
    from skimage.filters import gaussian

    image = np.asarray(data.retina())[::3, ::3]  # type: ignore[no-untyped-call]
    smooth: Any = gaussian
    inside = smooth(image.max(axis=2).astype(float), 3) > 20
    write_png("retina_mask.png", np.where(inside, 255, 0).astype(np.uint8))
    write_png("retina.png", image)
    return "retina.png"


def scan() -> str:
    """The phantom of Shepp and Logan, with noise as wide as the steps between its tissues."""
    from skimage import data

    phantom = np.asarray(data.shepp_logan_phantom())[::2, ::2]  # type: ignore[no-untyped-call]
    noise = np.random.default_rng(0).normal(0, 0.15, phantom.shape)
    write_png("scan.png", np.rint(255 * np.clip(0.25 + 0.5 * phantom + noise, 0, 1)).astype("u1"))
    return "scan.png"


def scene() -> str:
    """Water, plants, soil, towns and sand in six bands, partly without data, as int16 TIFF.

    With rasterio it is a GeoTIFF, and the results are such too.
    """
    import tifffile
    from skimage.filters import gaussian

    rng = np.random.default_rng(1)
    smooth: Any = gaussian
    spectra = [  # reflectance in blue, green, red and three bands of infrared, in 1/10000
        [900, 700, 450, 250, 120, 80],
        [400, 700, 450, 3800, 1900, 900],
        [800, 1150, 1500, 2200, 2900, 2500],
        [1300, 1450, 1550, 1900, 2100, 1900],
        [2100, 2600, 3000, 3400, 3800, 3500],
    ]
    height, width = 240, 320
    heights = np.stack([smooth(rng.normal(size=(height, width)), 14) for _ in spectra])
    kinds = heights.argmax(axis=0)
    light = 1 + 4 * smooth(rng.normal(size=(height, width)), 25)[..., None]
    bands = np.array(spectra)[kinds] * light * rng.normal(1, 0.08, (height, width, 6))
    pixels = np.clip(np.rint(bands), 1, 16_000).astype(np.int16)
    y, x = np.mgrid[:height, :width]
    pixels[x + 0.3 * y < 40] = -9999
    try:
        import rasterio
    except ImportError:
        options: dict[str, Any] = {"photometric": "minisblack", "planarconfig": "contig"}
        extra = [(42113, "s", 0, "-9999", True)]  # GDAL's tag for no data
        tifffile.imwrite("scene.tif", pixels, extratags=extra, **options)
        return "scene.tif"
    place = rasterio.transform.Affine(30.0, 0.0, 500_000.0, 0.0, -30.0, 5_200_000.0)
    like = {"crs": "EPSG:32633", "transform": place, "nodata": -9999, "dtype": "int16", "count": 6}
    with rasterio.open(
        "scene.tif", "w", driver="GTiff", height=height, width=width, **like
    ) as file:
        file.write(np.moveaxis(pixels, -1, 0))
        file.descriptions = "blue", "green", "red", "nir", "swir1", "swir2"
    return "scene.tif"


EXHIBITS = (
    Exhibit(
        "landscape",
        "A landscape",
        landscape,
        "-k 5 --recommended",
        "Lab colours, smoothing and merging, as is recommended for photographs.",
    ),
    Exhibit(
        "portrait",
        "A portrait",
        lambda: sample("astronaut", "portrait.png"),
        "-k 8 --recommended --merge 2",
        "The same, with less merging, so that the shine on the visor keeps a border; face and hair "
        "are one region.",
    ),
    Exhibit(
        "histology",
        "A histological section",
        lambda: sample("immunohistochemistry", "histology.png"),
        "-k 3 --features lab --smooth",
        "Epithelium with its brown marker, tissue around it with blue nuclei, and what is empty.",
    ),
    Exhibit(
        "cells",
        "Cells",
        lambda: sample("cell", "cells.png"),
        "-k 3 --smooth --min-region 60",
        "Grey values alone; specks of fewer than 60 pixels are absorbed.",
    ),
    Exhibit(
        "retina",
        "A retina",
        retina,
        "-k 5 --mask retina_mask.png --smooth",
        "What is black in the mask takes no part, and is transparent in the result.",
    ),
    Exhibit(
        "scan",
        "A noisy scan",
        scan,
        "-k 4 --noise-model potts",
        "Fitted with neighbours tied, as noise is as wide as the steps between tissues.",
    ),
    Exhibit(
        "scene",
        "A scene of six bands",
        scene,
        "-k 5 --features bands",
        "All bands, infrared too; what has no data is left out. With rasterio the labels are a "
        "GeoTIFF where the scene lies.",
    ),
)

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark"><title>A gallery of segmentations by jgmm</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 76rem; margin: 0 auto; padding: 1rem; }
section { margin: 2rem 0; } h2 { margin: 0; } p { margin: 0.2rem 0; }
code { display: block; overflow-x: auto; padding: 0.5rem 0.8rem; border: 1px solid #8888; border-radius: 6px; margin: 0.5rem 0; }
.row { display: grid; grid-template-columns: repeat(auto-fit, minmax(15rem, 1fr)); gap: 0.75rem; }
figure { margin: 0; } figcaption { opacity: 0.75; font-size: 0.9rem; }
img { width: 100%; border-radius: 6px; display: block; }
</style></head><body><main><h1>A gallery of segmentations</h1>
{% for e in exhibits %}
<section><h2>{{ e.title }}</h2><p>{{ e.about }}</p><code>{{ e.command }}</code>
<div class="row">{% for file, what in e.pictures %}
<figure><a href="{{ e.report }}"><img src="{{ file }}" alt="{{ e.title }}: {{ what }}" loading="lazy"></a><figcaption>{{ what }}</figcaption></figure>{% endfor %}
</div></section>
{% endfor %}
</main></body></html>
"""  # noqa: E501


@contextlib.contextmanager
def inside(folder: Path) -> Iterator[None]:
    """Work in a folder, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def show(exhibit: Exhibit) -> dict[str, Any]:
    """Make the image, run the command on it, and say where the results are."""
    source = exhibit.make()
    command = ["segment", source, *shlex.split(exhibit.options)]
    if app.main([*command, "-q"]) != 0:
        raise RuntimeError(f"expected that this works: {shlex.join(['jgmm', *command])}")
    image = read_image(source)
    seen = display_of(image.pixels, image.alpha)(image.pixels)
    write_png(f"{exhibit.name}_seen.png", seen)
    made = f"jgmm-out/{Path(source).stem}"
    return {
        "title": exhibit.title,
        "about": exhibit.about,
        "command": shlex.join(["jgmm", *command]),
        "report": f"{made}/report.html",
        "pictures": [
            (f"{exhibit.name}_seen.png", "the image"),
            (f"{made}/segmented_k{exhibit.k}.png", "segments in their mean colours"),
            (f"{made}/overlay_k{exhibit.k}.png", "borders of the regions"),
        ],
    }


def make(folder: Path, exhibits: Sequence[Exhibit] = EXHIBITS) -> Path:
    """Write the gallery; returns its page."""
    import jinja2

    with inside(folder):
        shown = [show(exhibit) for exhibit in exhibits]
        page = jinja2.Environment(autoescape=True).from_string(_PAGE).render(exhibits=shown)
        Path("index.html").write_text(page, encoding="utf-8")
    return folder / "index.html"


def figure(folder: Path, path: Path) -> None:
    """Images above their segments, for those that may be passed on, from a gallery that is made."""
    from PIL import Image, ImageOps

    size = 150
    rows: list[list[NdArray]] = [[], []]
    for exhibit in EXHIBITS[1:]:  # the photograph of the first is not ours
        (made,) = folder.glob(f"jgmm-out/{exhibit.name}/segmented_k*.png")
        for row, file in zip(rows, (folder / f"{exhibit.name}_seen.png", made), strict=True):
            with Image.open(file) as opened:
                image = opened.convert("RGBA")
            paper = Image.new("RGBA", image.size, "white")
            shown = Image.alpha_composite(paper, image).convert("RGB")
            tile = np.full((size + 6, size + 6, 3), 255, np.uint8)
            tile[:size, :size] = np.asarray(ImageOps.fit(shown, (size, size)))
            row.append(tile)
    Image.fromarray(np.vstack([np.hstack(row) for row in rows])[:-6, :-6]).save(path, quality=88)


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the gallery."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("-o", dest="folder", type=Path, default=Path("jgmm-out/gallery"))
    parser.add_argument("--only", choices=[e.name for e in EXHIBITS], help="one of the images")
    parser.add_argument("--figure", type=Path, help="a small picture of all, to be written too")
    options = parser.parse_args(arguments)
    chosen = [e for e in EXHIBITS if options.only in (None, e.name)]
    print(f"wrote {make(options.folder, chosen)}")
    if options.figure is not None:
        figure(options.folder, options.figure)


if __name__ == "__main__":
    main()
