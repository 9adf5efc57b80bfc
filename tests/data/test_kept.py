"""Programs kept in a folder: other processes take them from there, whatever became of the files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import jgmm
from jgmm.data import kept
from jgmm.data.programs import program

# A program with a factorisation, whose code JAX looks up when it lowers one. Says what came out,
# and how often a function was traced.
SCRIPT = """
import json, sys
import jax, jax.numpy as jnp, numpy as np
import jgmm
from jgmm.data.programs import program
jgmm.keep_programs(sys.argv[1])
traced = []
@program("power")
def work(x, power):
    traced.append(power)
    return {"root": jnp.linalg.cholesky(x @ x.T + jnp.eye(3)), "sum": jnp.sum(x**power)}
found = work(np.arange(9.0).reshape(3, 3), power=int(sys.argv[2]))
print(json.dumps([jax.tree.map(lambda leaf: np.asarray(leaf).tolist(), found), traced]))
"""


def work(folder: Path, power: int = 2, **environment: str) -> Any:
    script = folder.parent / "script.py"
    script.write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "-W", "error", script, folder, str(power)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | environment,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return json.loads(done.stdout)


def test_another_process_neither_traces_nor_compiles(tmp_path: Path) -> None:
    """And what it finds is the same to the last bit; files that are damaged are made anew."""
    folder = tmp_path / "kept"
    first, traced = work(folder)
    assert traced == [2]
    (file,) = folder.rglob("*.program")
    content = file.read_bytes()
    assert work(folder) == [first, []]
    assert work(folder, power=3)[1] == [3]
    other = next(path for path in folder.rglob("*.program") if path != file)
    for damaged in (content[: len(content) // 2], other.read_bytes()):
        file.write_bytes(damaged)
        assert work(folder) == [first, [2]]
        assert not file.exists()  # JAX's own cache has it, and what came from there is not kept
    file.write_bytes(content)
    assert work(folder) == [first, []]


def test_beside_a_cache_of_jax_that_the_user_set_up(tmp_path: Path) -> None:
    """What came from there cannot be written again, and is not."""
    cache = {
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "jax"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "0",
    }
    first, _ = work(tmp_path / "one", **cache)
    for _ in range(2):
        assert work(tmp_path / "two", **cache) == [first, [2]]
    assert not list((tmp_path / "two").rglob("*.program"))
    assert not list((tmp_path / "two").rglob("*-cache"))


def test_what_a_function_makes_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several of one name do different things."""
    monkeypatch.setattr(kept, "_folder", tmp_path)

    def raised_to(power: int) -> Any:
        def work(x: Any) -> Any:
            return x**power

        return program()(work)

    for power in (2, 3):
        assert raised_to(power)(np.float32(3)) == 3**power


def test_a_folder_that_others_may_write_to(tmp_path: Path) -> None:
    open_to_all = tmp_path / "open"
    open_to_all.mkdir()
    open_to_all.chmod(0o777)
    with pytest.raises(ValueError, match="only you can write to"):
        jgmm.keep_programs(open_to_all)
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        jgmm.keep_programs(tmp_path / "file")
    assert kept._folder is None


def test_few_files_and_versions_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that were used last."""
    monkeypatch.setattr(kept, "_MOST_FILES", 2)
    for i in range(5):
        (tmp_path / f"{i}.program").touch()
        os.utime(tmp_path / f"{i}.program", (i, i))
        version = tmp_path / f"v{i}"
        version.mkdir()
        (version / "used").touch()
        os.utime(version / "used", (i, i))
    (tmp_path / "photo.png").touch()
    kept._tidy(tmp_path)
    kept._drop_versions(tmp_path)
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == ["3.program", "4.program", "photo.png", "v2", "v3", "v4"]


def test_the_folder_for_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("HOME", str(tmp_path))
    for named, folder in ((tmp_path / "cache", "cache/jgmm"), ("relative", ".cache/jgmm")):
        monkeypatch.setenv("XDG_CACHE_HOME", str(named))
        assert kept.default_folder() == tmp_path / folder
