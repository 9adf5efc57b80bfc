"""The page in a browser: every control is used, nothing is wrong, all can use it.

Needs Playwright and axe (the extra ``browser``), and a Chromium: that of the system, or the one at
JGMM_CHROMIUM.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jgmm.cli import app as cli

sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed")

CHROMIUM = os.environ.get("JGMM_CHROMIUM") or shutil.which("chromium") or ""
NAME = "<b>&amp; x.png"
pytestmark = [
    pytest.mark.skipif(not CHROMIUM, reason="there is no Chromium"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of the browser's driver
]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a small picture of four fields, of which three are alike."""
    import imageio.v3 as iio
    import jax

    folder = tmp_path_factory.mktemp("run")
    rng = np.random.default_rng(0)
    fields = np.kron([[50, 60, 200], [70, 210, 55]], np.ones((30, 20)))[..., None]
    image = np.clip(fields * [1, 0.8, 0.6] + rng.normal(0, 4, (60, 60, 3)), 0, 255)
    iio.imwrite(folder / NAME, image.astype(np.uint8), extension=".png")
    quick = ["--search", "none", "--max-iter", "30"]
    with pytest.MonkeyPatch.context() as patch, jax.enable_x64(False):
        patch.setattr("jgmm.cli.runtime.prepare", lambda debug=False: None)
        patch.chdir(folder)
        with jax.numpy_dtype_promotion("standard"):
            assert cli.main(["segment", NAME, "-k", "2-5", "-q", *quick]) == 0
    return folder / "jgmm-out" / Path(NAME).stem / "report.html"


@pytest.fixture(scope="module")
def scribbled(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with two strokes that tell two of the fields that are alike apart."""
    import imageio.v3 as iio
    import jax

    folder = tmp_path_factory.mktemp("scribbled")
    strokes = np.zeros((60, 60, 3), np.uint8)
    strokes[10:12, 4:12], strokes[40:44, 45:55] = (255, 0, 0), (0, 255, 0)
    iio.imwrite(folder / "strokes.png", strokes)
    run = ["segment", str(made.parents[2] / NAME), "-k", "3", "-q", "--labels", "strokes.png"]
    with pytest.MonkeyPatch.context() as patch, jax.enable_x64(False):
        patch.setattr("jgmm.cli.runtime.prepare", lambda debug=False: None)
        patch.chdir(folder)
        with jax.numpy_dtype_promotion("standard"):
            assert cli.main([*run, "--search", "none", "--max-iter", "30"]) == 0
    return folder / "jgmm-out" / Path(NAME).stem / "report.html"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


class Seen:
    """A page that is open, and what went wrong with it."""

    def __init__(self, browser: Any, made: Path, **options: Any) -> None:
        self.context = browser.new_context(**options)
        self.wrong: list[str] = []
        self.asked: list[str] = []
        self.page = self.context.new_page()
        self.page.on("console", self.hear)
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(made.as_uri())
        self.page.wait_for_selector("html[data-ready]", timeout=20_000)

    def hear(self, said: Any) -> None:
        if "willReadFrequently" not in said.text:  # it is the test that reads
            self.wrong.append(said.text)

    def colours(self, canvas: str) -> set[tuple[int, ...]]:
        found = self.page.evaluate(
            "id => { const c = document.getElementById(id);"
            "return [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data] }",
            canvas,
        )
        return {tuple(pixel) for pixel in np.reshape(found, (-1, 4)).tolist()}

    def swatches(self) -> set[tuple[int, ...]]:
        codes = self.page.locator("button.swatch").all_inner_texts()
        return {(*bytes.fromhex(code.strip()[1:]), 255) for code in codes}


@pytest.fixture
def seen(browser: Any, made: Path) -> Iterator[Seen]:
    opened = Seen(browser, made, permissions=["clipboard-read", "clipboard-write"])
    yield opened
    opened.context.close()
    assert opened.wrong == []
    assert [url for url in opened.asked if not url.startswith(("file:", "data:", "blob:"))] == []


def test_the_picture_has_the_colours_of_the_list(seen: Seen) -> None:
    page = seen.page
    assert page.locator("h1").inner_text() == NAME
    chosen = page.locator('input[name="k"]:checked').get_attribute("value")
    for k in ("2", "3", chosen):
        page.locator(f'input[name="k"][value="{k}"]').check()
        page.wait_for_selector(f'html[data-ready="{k}"]')
        assert page.locator("#rows tbody tr").count() == int(k)
        assert seen.colours("cut") == seen.swatches()


def test_regions_are_as_many_as_asked_for(seen: Seen) -> None:
    page = seen.page
    page.locator('input[name="view"][value="regions"]').check()
    slider = page.locator("#regions")
    assert slider.get_attribute("min") == "1"
    most = int(slider.get_attribute("max"))
    for n in (most, 2, 1):
        slider.fill(str(n))
        assert page.locator("#rows tbody tr").count() == n
        assert page.locator("#count").inner_text() == str(n)
    slider.press("ArrowRight")
    assert page.locator("#count").inner_text() == "2"
    page.locator('input[name="view"][value="segments"]').check()
    assert "segments" in page.locator("#h-list").inner_text()


def test_regions_of_different_scribbles_stay_apart(browser: Any, scribbled: Path) -> None:
    opened = Seen(browser, scribbled)
    page = opened.page
    page.locator('input[name="view"][value="regions"]').check()
    slider = page.locator("#regions")
    assert slider.get_attribute("min") == "2"
    slider.fill("2")
    assert page.locator("#rows tbody tr").count() == 2
    assert "At least 2 stay apart, as known labels differ" in page.locator("#specks").inner_text()
    about = page.locator("#about")
    page.locator("h1").scroll_into_view_if_needed()
    box = page.locator("#stage").bounding_box()
    said = set()
    for x, y in ((8, 11), (50, 42)):
        page.mouse.move(box["x"] + x / 60 * box["width"], box["y"] + y / 60 * box["height"])
        said.add(about.inner_text())
    # Each is of the segment whose stroke is in it.
    assert sorted(text.split("of segment ")[1][0] for text in said) == ["0", "1"]
    opened.context.close()
    assert opened.wrong == []


def test_wiping_certainty_and_curves(seen: Seen) -> None:
    page = seen.page
    wipe = page.locator("#wipe")
    wipe.fill("20")
    assert "80%" in page.locator("#cut").evaluate("e => e.style.clipPath")
    page.locator("h1").scroll_into_view_if_needed()
    box = page.locator("#stage").bounding_box()
    page.mouse.move(box["x"] + 0.2 * box["width"], box["y"] + 9)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.75 * box["width"], box["y"] + 9)
    page.mouse.up()
    assert abs(int(wipe.input_value()) - 75) <= 1
    assert page.locator("#sure").is_hidden()
    page.locator("#certainty").check()
    assert page.locator("#sure").is_visible()
    assert all(a == 0 or (r > 200 and g < 50) for r, g, _, a in seen.colours("sure"))
    step = page.locator("#step")
    last = page.locator("#values td").all_inner_texts()
    step.fill("0")
    assert page.locator("#values td").all_inner_texts() != last
    chart = page.locator("#learning").bounding_box()
    page.mouse.move(chart["x"] + 0.95 * chart["width"], chart["y"] + 0.5 * chart["height"])
    assert step.input_value() == step.get_attribute("max")
    assert page.locator("#values td").all_inner_texts() == last


def test_pointing_tabbing_keeping_and_copying(seen: Seen) -> None:
    page = seen.page
    about = page.locator("#about")
    assert page.locator("#lit").is_hidden()
    box = page.locator("#stage").bounding_box()
    page.mouse.move(box["x"] + 0.9 * box["width"], box["y"] + 0.1 * box["height"])
    assert "of the pixels, mean" in about.inner_text()
    assert "certainty" in about.inner_text()
    assert page.locator("#lit").is_visible()
    assert page.locator("#rows tr.on").count() == 1
    assert page.locator("#bar span.on").count() == 1
    page.mouse.move(1, 1)
    assert page.locator("#lit").is_hidden()
    page.locator(".list .scroll").focus()
    page.keyboard.press("Tab")
    assert about.inner_text().startswith("Segment 0: #")
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_selector("text=Copied #")
    code = page.locator("button.swatch").first.inner_text().strip()
    assert page.evaluate("navigator.clipboard.readText()") == code
    page.locator("#wipe").focus()
    assert about.inner_text().startswith("Segment 0: #")  # as it was kept
    assert page.locator("button.keep").first.get_attribute("aria-pressed") == "true"


@pytest.mark.parametrize("touch", [True, False])
def test_a_tap_and_a_click_keep_a_segment_lit(browser: Any, made: Path, touch: bool) -> None:
    opened = Seen(browser, made, has_touch=touch, viewport={"width": 360, "height": 800})
    page = opened.page
    box = page.locator("#stage").bounding_box()
    x, y = box["x"] + 0.9 * box["width"], box["y"] + 0.1 * box["height"]
    act = page.touchscreen.tap if touch else page.mouse.click
    about, wiped = page.locator("#about"), page.locator("#wipe").input_value()
    act(x, y)
    page.mouse.move(1, 1)
    assert "of the pixels, mean" in about.inner_text()
    assert page.locator("#lit").is_visible()
    assert page.locator('button.keep[aria-pressed="true"]').count() == 1
    act(x, y)
    page.mouse.move(1, 1)
    assert page.locator("#lit").is_hidden()
    assert page.locator("#wipe").input_value() == wiped  # neither is a drag
    opened.context.close()
    assert opened.wrong == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 320])
def test_all_can_use_it(browser: Any, made: Path, scheme: str, width: int) -> None:
    opened = Seen(
        browser,
        made,
        color_scheme=scheme,
        viewport={"width": width, "height": 800},
        bypass_csp=True,
    )
    page = opened.page
    page.locator('input[name="view"][value="regions"]').check()
    page.locator("button.keep").first.click()
    found = axe.Axe().run(page).response["violations"]
    serious = [(v["id"], v["nodes"][0]["html"]) for v in found if v["impact"] != "minor"]
    assert serious == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    opened.context.close()
    assert opened.wrong == []
