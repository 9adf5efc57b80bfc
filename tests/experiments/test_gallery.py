"""The gallery: its images can be read, and its page shows what the commands wrote."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from pictures import picture, write

from experiments import gallery
from jgmm.image import read_image

pytestmark = [
    pytest.mark.usefixtures("plain_process"),
    pytest.mark.filterwarnings("ignore::PendingDeprecationWarning"),  # of rasterio's transforms
]


def test_every_image_can_be_read(folder: Path) -> None:
    kinds = {}
    for exhibit in gallery.EXHIBITS:
        image = read_image(exhibit.make())
        kinds[exhibit.name] = image.pixels.shape[2]
        assert min(image.pixels.shape[:2]) >= 200
        assert int(exhibit.k) > 1
    assert kinds["scene"] == 6
    assert kinds["cells"] == 1
    scene = read_image("scene.tif")
    assert scene.alpha is not None
    assert 0.5 < np.mean(scene.alpha) < 1
    assert Path("retina_mask.png").is_file()


def test_the_page_shows_what_the_command_wrote(folder: Path) -> None:
    small = gallery.Exhibit("x", "<Small>", lambda: write("x.png", picture()), "-k 2", "about")
    page = gallery.make(folder / "gallery", [small])
    text = page.read_text()
    assert Path.cwd() == folder
    assert "jgmm segment x.png -k 2" in text
    assert "&lt;Small&gt;" in text
    links = re.findall(r'(?:src|href)="([^"]+)"', text)
    assert len(links) == 6
    assert all((page.parent / link).is_file() for link in links)
