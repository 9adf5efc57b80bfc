"""Pages of the API, from its docstrings, by pdoc (the extra ``docs``).

    python -m experiments.api [-o DIR]

Every public name of `jgmm` and of its modules `plot`, `image`, `sklearn` and `interop` is on them.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import inspect
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType

MODULES = ("jgmm", "jgmm.image", "jgmm.interop", "jgmm.plot", "jgmm.sklearn")


def public_names(module: ModuleType) -> list[str]:
    """What a module offers: what it lists, or else what it imports by name from its parts."""
    listed = getattr(module, "__all__", None)
    if listed is not None:
        return sorted(listed)
    return sorted(
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and not inspect.ismodule(value)
    )


@contextlib.contextmanager
def _listed(modules: Sequence[ModuleType]) -> Iterator[None]:
    """Within this the modules list what they offer, which is what pdoc goes by, and their parts."""
    before = {module: module.__dict__.get("__all__") for module in modules}
    for module in modules:
        parts = [n for n in MODULES if n.rpartition(".")[0] == module.__name__]
        names = [*public_names(module), *(part.rpartition(".")[2] for part in parts)]
        module.__all__ = names  # type: ignore[attr-defined]
    try:
        yield
    finally:
        for module, listed in before.items():
            if listed is None:
                del module.__all__
            else:
                module.__all__ = listed  # type: ignore[attr-defined]


def make(folder: Path) -> None:
    """Write the pages: ``index.html``, and one for each module."""
    import pdoc
    import pdoc.render

    modules = [importlib.import_module(name) for name in MODULES]
    pdoc.render.configure(docformat="google", show_source=False, search=True)
    with _listed(modules):
        pdoc.pdoc(MODULES[0], output_directory=folder)
    for page in folder.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        page.write_text(_without_dead_ends(text), encoding="utf-8")


def _without_dead_ends(text: str) -> str:
    """A page without links to names it has not: pdoc links inherited ones that it leaves out."""
    there = set(re.findall(r'\bid="([^"]+)"', text))

    def kept(link: re.Match[str]) -> str:
        return link[0] if link[1] in there else link[2]

    return re.sub(r'<a href="#([^"]+)">(.*?)</a>', kept, text, flags=re.DOTALL)


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the pages."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("-o", dest="folder", type=Path, default=Path("jgmm-out/api"))
    options = parser.parse_args(arguments)
    make(options.folder)
    print(f"wrote {options.folder / 'index.html'}")


if __name__ == "__main__":
    main()
