"""The folders form floors: each imports only from floors below it, and the core stays light."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import jgmm

PACKAGE = Path(jgmm.__file__).parent
FLOORS = (
    {"_status"},
    {"_struct", "_atomic", "_checks"},
    {"data"},
    {"families"},
    {"mixture", "clustering"},
    {"em"},
    {"solvers", "variational"},
    {"fitting"},
    {"image", "plot", "sklearn", "interop"},
    {"report"},
    {"cli"},
    {"__main__"},
)
FLOOR = {room: i for i, rooms in enumerate(FLOORS) for room in rooms}
CORE = set().union(*FLOORS[:8])
ALLOWED_IN_CORE = {*sys.stdlib_module_names, "numpy", "jax", "chex", "optax", "jgmm"}
# Loaded inside the functions that need them: files of mixtures and fits, conversions, bars.
LATE = {
    "mixture": {"safetensors", "numpyro", "tensorflow_probability"},
    "fitting": {"rich", "safetensors"},
}
HEAVY = (
    "matplotlib",
    "imageio",
    "PIL",
    "skimage",
    "sklearn",
    "typer",
    "rich",
    "tifffile",
    "jinja2",
)
FILES = sorted(p for p in PACKAGE.rglob("*.py") if p != PACKAGE / "__init__.py")


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imported(path: Path) -> Iterator[str]:
    """Dotted names of the modules a file imports, wherever in it the import stands."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name} line {node.lineno}: a relative import"
            assert node.module is not None
            if node.module == "jgmm":
                yield from (f"jgmm.{alias.name}" for alias in node.names)
            else:
                yield node.module


def test_every_module_is_in_a_room_and_every_room_exists() -> None:
    assert {room_of(path) for path in FILES} == set(FLOOR)


@pytest.mark.parametrize("room", sorted(FLOOR))
def test_a_room_imports_only_from_floors_below_it(room: str) -> None:
    for path in FILES:
        if room_of(path) != room:
            continue
        for name in imported(path):
            parts = name.split(".")
            where = path.relative_to(PACKAGE).as_posix()
            if parts[0] != "jgmm":
                outside = parts[0] in ALLOWED_IN_CORE | LATE.get(room, set())
                assert room not in CORE or outside, f"{where} imports {name}"
            elif len(parts) > 1 and parts[1] in FLOOR:
                below = FLOOR[parts[1]] < FLOOR[room]
                assert parts[1] == room or below, f"{where} imports {name}"
            else:
                # `import jgmm` or `from jgmm import <name that is no module>`: the whole package.
                assert parts[1:] == ["__version__"], f"{where} imports the whole package"


@pytest.mark.parametrize(
    "folder", sorted(p.parent for p in FILES if p.name == "__init__.py"), ids=lambda p: p.name
)
def test_a_folder_says_what_it_may_use(folder: Path) -> None:
    said = ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8")))
    assert said is not None
    assert re.search(r"\b[Uu]ses\b", said)


def test_importing_jgmm_is_light() -> None:
    code = (
        "import sys, jgmm\n"
        f"found = [m for m in {HEAVY!r} if m in sys.modules]\n"
        "sys.exit(', '.join(found) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
