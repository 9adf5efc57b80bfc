"""The modules form layers: each imports only from those before it, and the core stays light."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import jgmm

PACKAGE = Path(jgmm.__file__).parent
CORE = (
    "_struct",
    "_atomic",
    "_checks",
    "_status",
    "_fold",
    "_parallel",
    "covariance",
    "mixture",
    "whitened",
    "density",
    "derived",
    "_frame",
    "criteria",
    "plusplus",
    "lloyd",
    "clustering",
    "natural",
    "em",
    "accelerate",
    "loop",
    "starts",
    "partial",
    "prior",
    "maps",
    "implicit",
    "batches",
    "ascent",
    "lanes",
    "turns",
    "fitting",
    "gradient",
    "information",
)
# The files of image/ are one row: they may use each other.
ROWS = (
    *CORE,
    "selection",
    "choice",
    "families",
    "streaming",
    "interop",
    "io",
    "image",
    "plot",
    "report",
    "summary",
    "results",
    "saved",
    "request",
    "job",
    "_runtime",
    "_terminal",
    "_options",
    "cli",
    "sklearn",
    "__main__",
)
ALLOWED_IN_CORE = {*sys.stdlib_module_names, "numpy", "jax", "chex", "optax", "jgmm"}
HEAVY = ("matplotlib", "imageio", "PIL", "skimage", "sklearn", "typer", "rich", "tifffile")
FILES = sorted(p for p in PACKAGE.rglob("*.py") if p != PACKAGE / "__init__.py")


def row_of(path: Path) -> str:
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


def test_every_module_has_a_row() -> None:
    assert {row_of(path) for path in FILES} <= set(ROWS)


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(PACKAGE).as_posix())
def test_a_module_imports_only_from_rows_above_it(path: Path) -> None:
    row = row_of(path)
    for name in imported(path):
        parts = name.split(".")
        if parts[0] != "jgmm":
            assert row not in CORE or parts[0] in ALLOWED_IN_CORE, name
        elif len(parts) > 1 and parts[1] in ROWS:
            own_package = parts[1] == row and row in ("image", "plot", "sklearn")
            assert own_package or ROWS.index(parts[1]) < ROWS.index(row), f"{row} imports {name}"
        else:
            # `import jgmm` or `from jgmm import <name that is no module>`: the whole package.
            assert row in ("cli", "sklearn", "report", "__main__") or parts[1:] == [
                "__version__"
            ], f"{row} imports the whole package"


def test_importing_jgmm_is_light() -> None:
    code = (
        "import sys, jgmm\n"
        f"found = [m for m in {HEAVY!r} if m in sys.modules]\n"
        "sys.exit(', '.join(found) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
