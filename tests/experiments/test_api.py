"""The pages of the API: every public name is there, and every link leads somewhere."""

from __future__ import annotations

import html.parser
import importlib
import os
import urllib.parse
from pathlib import Path

import pytest

import jgmm
from experiments import api

pytest.importorskip("pdoc", reason="pdoc is not installed")


class Reader(html.parser.HTMLParser):
    """The ids of a page, and where its links go."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.ids.add(found.get("id") or "")
        if tag == "a" and found.get("href"):
            self.links.add(found["href"] or "")


@pytest.mark.filterwarnings("error:Error parsing")
def test_every_public_name_is_on_the_pages_and_no_link_is_broken(tmp_path: Path) -> None:
    listed = list(jgmm.__all__)
    api.make(tmp_path)
    assert jgmm.__all__ == listed
    pages = {path: Reader(path.read_text()) for path in tmp_path.rglob("*.html")}
    for name in api.MODULES:
        page = pages[tmp_path / (name.replace(".", "/") + ".html")]
        names = api.public_names(importlib.import_module(name))
        assert set(names) <= page.ids, name
        assert len(names) >= 4
    for path, page in pages.items():
        for link in page.links:
            if urllib.parse.urlsplit(link).scheme:
                continue
            file, _, part = link.partition("#")
            target = Path(os.path.normpath(path.parent / file)) if file else path
            assert target.is_file(), f"{path.name}: {link}"
            assert not part or part in pages[target].ids, f"{path.name}: {link}"
    assert {"jgmm/plot.html", "jgmm/image.html", "#fit", "#SweepResult"} <= pages[
        tmp_path / "jgmm.html"
    ].links
