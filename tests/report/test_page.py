"""The page of a run: what is in it, that it is whole, asks for nothing, and shows text as text."""

from __future__ import annotations

import base64
import html.parser
import json
import re
import urllib.parse
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import jgmm
from jgmm.image.display import display_of
from jgmm.image.table import segment_table
from jgmm.report import charts
from jgmm.report.page import Entry, link_to_index, settings_of, write_index, write_report
from jgmm.report.scene import packed, photograph_of, scene_of, stride_for

RNG = np.random.default_rng(3)
IMAGE = np.clip(
    np.kron(RNG.uniform(20, 230, (4, 5, 3)), np.ones((10, 10, 1))) + RNG.normal(0, 6, (40, 50, 3)),
    0,
    255,
).astype(np.uint8)
EVIL = "</script><img src=x onerror=alert(1)>{{7*7}}&amp;'\"\n.png"
VOID = {"meta", "link", "img", "input", "br", "hr", "path", "circle", "line"}


class Reader(html.parser.HTMLParser):
    """Elements that are open and closed in order; what they refer to; ids."""

    def __init__(self) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.ids: list[str] = []
        self.refers: list[str] = []
        self.named: list[str] = []
        self.tags: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.append(tag)
        if tag not in VOID:
            self.stack.append(tag)
        for name in ("src", "href"):
            if name in found:
                self.refers.append(found[name] or "")
        self.ids += [found["id"] or ""] if "id" in found else []
        self.named += [found[n] or "" for n in ("for", "aria-labelledby") if n in found]
        assert not any(name.startswith("on") for name in found)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.stack.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.stack and self.stack[-1] not in ("script", "style"):
            self.text += data


@pytest.fixture(scope="module")
def found() -> dict[int, jgmm.Segmentation]:
    quick: dict[str, Any] = {"max_iter": 20, "search": "none", "tol": 1e-3}
    return {2: jgmm.segment(IMAGE, 2, **quick), 4: jgmm.segment(IMAGE, 4, min_region=3, **quick)}


def summary_of(found: dict[int, jgmm.Segmentation]) -> dict[str, Any]:
    fits = [
        {"k": k, "log_likelihood": 1.5, "bic": 9.0, "icl": None, "status": "x", "iterations": 3}
        for k in found
    ]
    taken = {"path": EVIL, "width": 50, "height": 40, "channels": 3, "dtype": "uint8"}
    return {
        "input": {**taken, "pixels": 2000, "pixels_left_out": 0, "pages_taken": [1]},
        "features": "rgb",
        "seed": 0,
        "options": {"covariance": "full", "search": "best", "dtype": "x", "noise_model": None},
        "versions": {"jgmm": "0"},
        "chosen_k": 2,
        "chosen_because": f"it is <b> {EVIL}",
        "chosen_from": fits,
        "fits": fits,
    }


def page(
    found: dict[int, jgmm.Segmentation], folder: Path, about: dict[str, Any] | None = None
) -> str:
    show = display_of(IMAGE)
    write_report(
        folder / "report.html",
        title=EVIL,
        command=f"jgmm {EVIL}",
        photograph=photograph_of(IMAGE, 1),
        scenes=[scene_of(one, segment_table(one, show), show, 1) for one in found.values()],
        histories={k: np.asarray(one.fit.history).tolist() for k, one in found.items()},
        quantity="mean log-likelihood",
        summary=about or summary_of(found),
        stride=1,
        files=[("all", ["a b%.png", EVIL])],
    )
    assert [path.name for path in folder.iterdir()] == ["report.html"]
    return (folder / "report.html").read_text()


def test_the_page_is_well_formed_and_whole_in_itself(
    found: dict[int, jgmm.Segmentation], tmp_path: Path
) -> None:
    text = page(found, tmp_path)
    reader = Reader()
    reader.feed(text)
    reader.close()
    assert reader.stack == []
    assert len(reader.ids) == len(set(reader.ids))
    assert set(reader.named) <= set(reader.ids)
    # Nothing from a network, nor from a file that it shows.
    places = [url for url in reader.refers if not url.startswith(("data:image/", "#"))]
    assert places == ["a%20b%25.png", urllib.parse.quote(EVIL)]
    assert "http" not in re.sub(r'http-equiv|base64,[^"]*', "", text)
    assert "@import" not in text
    assert "url(" not in text
    assert "default-src 'none'" in text


def test_text_stays_text(found: dict[int, jgmm.Segmentation], tmp_path: Path) -> None:
    text = page(found, tmp_path)
    reader = Reader()
    reader.feed(text)
    assert reader.tags.count("script") == 2
    assert reader.tags.count("img") == 1
    assert "49" not in re.findall(r"<h1>(.*?)</h1>", text)[0]
    assert "</script><img src=x onerror=alert(1)>{{7*7}}&amp;'\"\\x0a.png" in reader.text


def test_what_the_page_holds_is_what_was_found(
    found: dict[int, jgmm.Segmentation], tmp_path: Path
) -> None:
    text = page(found, tmp_path)
    (raw,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text)
    data = json.loads(raw)
    assert data["chosen"] == 2
    for k, one in found.items():
        scene = data["scenes"][str(k)]
        maps = {
            name: np.frombuffer(zlib.decompress(base64.b64decode(scene[name])), kind)
            for name, kind in (("labels", "<u2"), ("leaves", "<u2"), ("certainty", "u1"))
        }
        np.testing.assert_array_equal(maps["labels"].reshape(40, 50), one.labels)
        assert abs(maps["certainty"] / 15 - one.certainty.ravel()).max() <= 0.5 / 15 + 1e-6
        table = one.table()
        assert [row["hex"] for row in scene["segments"]] == table["hex"].tolist()
        leaves = maps["leaves"].reshape(40, 50)
        n = len(scene["regions"])
        np.testing.assert_allclose(
            [row[0] for row in scene["regions"]],
            np.bincount(leaves.ravel(), minlength=n) / leaves.size,
            rtol=1e-5,
        )
        for i in range(n):
            inside = leaves == i
            values = IMAGE[inside].astype(float)
            np.testing.assert_allclose(scene["regions"][i][2::2], values.mean(0), rtol=1e-5)
            np.testing.assert_allclose(
                scene["regions"][i][3::2], values.var(0), rtol=1e-4, atol=1e-6
            )
        # Joined as the page joins them: the cuts of the hierarchy.
        if k == 4:
            name = np.arange(n)
            for gone, kept in reversed(scene["merges"][: n - 5]):
                name[gone] = name[kept]
            pairs = {*zip(name[leaves].ravel(), one.hierarchy.cut(n_regions=5).ravel())}  # noqa: B905
            assert len(pairs) == 5


@pytest.mark.parametrize(("merge", "stride"), [(0.0, 1), (0.0, 3), (1e6, 1), (1e6, 3)])
def test_a_page_keeps_apart_what_scribbles_do(merge: float, stride: int) -> None:
    labels = np.full(IMAGE.shape[:2], -1)
    labels[4, 5:30] = 1  # thinner than a stride
    labels[34:38, 5:45] = 0
    one = jgmm.segment(IMAGE, 3, labels=labels, merge=merge, max_iter=20, search="none", tol=1e-3)
    show = display_of(IMAGE)
    scene = scene_of(one, segment_table(one, show), show, stride)
    n = len(scene["regions"])
    name = np.arange(n)
    for gone, kept in reversed(scene["merges"]):
        name[gone] = name[kept]
    ends = {int(name[leaf]): set() for leaf in range(n)}
    for leaf in scene["known"]:
        ends[int(name[leaf])].add(scene["regions"][leaf][1])
    assert sorted(ends.values(), key=str) == [{0}, {1}]


def test_masks_and_large_images(tmp_path: Path) -> None:
    mask = np.ones(IMAGE.shape[:2], bool)
    mask[:7] = False
    one = jgmm.segment(IMAGE[..., 0], 2, mask=mask, max_iter=20, search="none", tol=1e-3)
    show = display_of(one.original, mask)
    scene = scene_of(one, segment_table(one, show), show, 3)
    assert (scene["height"], scene["width"]) == (14, 17)
    for name in ("labels", "leaves"):
        values = np.frombuffer(zlib.decompress(base64.b64decode(scene[name])), "<u2")
        np.testing.assert_array_equal(values.reshape(14, 17) == 65535, ~mask[::3, ::3])
    assert len(scene["segments"][0]["mean"]) == 1
    picture = np.dstack([IMAGE, np.where(mask, 255, 0).astype(np.uint8)])
    made = photograph_of(picture, 3)
    assert (made.height, made.width) == (14, 17)
    assert made.source.startswith("data:image/png")
    assert stride_for((4000, 6000), 10) ** 2 * 300_000 >= 24e6


def test_a_photograph_of_the_usual_size_makes_a_page_under_three_megabytes() -> None:
    """The worst case: every pixel a part of its own, in each of four k."""
    image = RNG.integers(0, 256, (427, 640, 3)).astype(np.uint8)
    size = len(photograph_of(image, 1).source)
    for k in (3, 5, 7, 10):
        labels = RNG.integers(0, k, (427, 640))
        for values in (labels.astype("<u2"), RNG.integers(0, 16, (427, 640)).astype(np.uint8)):
            size += len(packed(values))
    assert size < 3e6


def test_charts_show_all_values_where_they_are() -> None:
    chart = charts.curves({3: [1.0, 2.0, 2.5, float("nan")], 5: [1.2, 2.8]})
    assert chart is not None
    low, high = chart.y_range
    assert [line.name for line in chart.lines] == ["k = 3", "k = 5"]
    for (x, y, said), step, value in zip(
        chart.lines[0].points, (0, 1, 2), (1.0, 2.0, 2.5), strict=True
    ):
        assert x == pytest.approx(chart.left + step / 2 * (chart.right - chart.left), abs=0.1)
        share = (value - low) / (high - low)
        assert y == pytest.approx(chart.bottom - share * (chart.bottom - chart.top), abs=0.1)
        assert said == f"k = 3, {step}: {value:.3f}"
    assert charts.curves({3: [float("nan")]}) is None
    assert charts.criteria([3], {"BIC": [1.0]}) is None
    assert charts.criteria([3, 4], {"BIC": [None, None]}) is None
    best = charts.criteria([3, 4, 5], {"BIC": [3.0, 1.0, 2.0], "ICL": [None, 1.0, 0.5]})
    assert best is not None
    assert [line.best for line in best.lines] == [1, 1]
    far = charts.curves({2: [-50.0, 3.0, 3.1]})
    assert far is not None
    assert far.y_range[0] > 2


def test_an_index_of_several_images(tmp_path: Path) -> None:
    about = {"input": {"width": 3, "height": 4}, "chosen_k": 5, "chosen_because": "<i>"}
    write_index(tmp_path / "index.html", [Entry(EVIL, "a b", about), Entry("c.png", "c", about)])
    reader = Reader()
    reader.feed((tmp_path / "index.html").read_text())
    assert reader.stack == []
    assert reader.refers[:2] == ["a%20b/report.html", "a%20b/comparison.png"]
    assert reader.tags.count("img") == 2
    assert "<i>" in reader.text


def test_a_page_of_several_links_to_the_index(
    found: dict[int, jgmm.Segmentation], tmp_path: Path
) -> None:
    assert "index.html" not in page(found, tmp_path)
    link_to_index(tmp_path / "report.html")
    reader = Reader()
    reader.feed((tmp_path / "report.html").read_text())
    assert reader.stack == []
    assert reader.refers.count("../index.html") == 1


def test_all_settings_in_force_are_listed(
    found: dict[int, jgmm.Segmentation], tmp_path: Path
) -> None:
    about = summary_of(found)
    plain = ["rgb features", "full covariances", "seed 0", "search best", "x"]
    assert settings_of(about) == plain
    about["options"] |= {"smooth": {"unary": 1.0}, "min_region": 100, "merge": 3.2}
    smoothed = ["labels smoothed (unary 1)", "min_region 100", "merge 3.2"]
    assert settings_of(about) == [*plain, *smoothed]
    about["features"] = "lab+xy"
    about["options"] |= {
        "smooth": False,
        "merge": 0.0,
        "regions": 12,
        "noise_model": "potts",
        "distribution": "student",
        "restarts": 3,
        "bayes": True,
        "xy_weight": 0.5,
        "labels": "a\n.png",
    }
    assert settings_of(about)[5:] == [
        "student components",
        "3 restarts",
        "variational Bayes",
        "weight of the position 0.5",
        "noise model potts, beta auto",
        "min_region 100",
        "merged until 12 regions are left",
        "labels a\\x0a.png",
    ]
    assert ", ".join(plain) in page(found, tmp_path)


@pytest.mark.parametrize(("most", "searched"), [(500, True), (49, False)])
def test_curves_that_begin_with_a_search_say_so(
    found: dict[int, jgmm.Segmentation],
    tmp_path: Path,
    most: int,
    searched: bool,
) -> None:
    about = summary_of(found)
    about["options"]["max_iter"] = most
    assert ("each stage of the search and then" in page(found, tmp_path, about)) == searched


def test_a_page_that_cannot_be_written_leaves_nothing(
    found: dict[int, jgmm.Segmentation], tmp_path: Path
) -> None:
    with pytest.raises(OSError, match="missing"):
        write_index(tmp_path / "missing" / "index.html", [])
    assert not list(tmp_path.iterdir())
