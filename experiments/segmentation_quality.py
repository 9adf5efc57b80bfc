"""How well segments agree with those that people draw: the table of experiments/SEGMENTS.md.

    python -m experiments.segmentation_quality --data DIR --json FILE

DIR holds photographs ``ID.jpg``, each with ``ID.npz`` whose ``segmentations`` [annotators, H, W]
are what several people drew. For each method, labels (mixture components) and regions (connected)
are compared with those at full resolution. ODS takes for each measure the one k that is best for
all photographs together, OIS the best k for each photograph, and auto the k that the program
chooses. Notes on what was tried are in NOTES-segmentation.md.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import jgmm
from experiments.metrics import Agreement, agreement, pooled
from jgmm.cli import runtime as _runtime
from jgmm.image import RECOMMENDED

NdArray = npt.NDArray[Any]

KS = (3, 5, 7, 10)
DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "bsds-train"
PLAIN: dict[str, Any] = {"features": "rgb"}
METHODS: dict[str, dict[str, Any]] = {
    "mixture, RGB": PLAIN,
    "mixture, Lab": {"features": "lab"},
    "mixture, Lab+xy": {"features": "lab+xy"},
    "recommended": dict(RECOMMENDED),
}
BETTER = {"covering": max, "voi": min, "pri": max}


def photographs(folder: Path) -> list[tuple[Path, Path]]:
    """The photographs of a folder that have annotations, and those."""
    pairs = [(p, p.with_suffix(".npz")) for p in sorted(folder.glob("*.jpg"))]
    return [pair for pair in pairs if pair[1].is_file()]


def measure(
    pairs: Sequence[tuple[Path, Path]], options: dict[str, Any], k: int | str
) -> dict[str, Any]:
    """Segment all photographs, and compare labels and regions with what people drew."""
    found: dict[str, Any] = {"labels": [], "regions": [], "seconds": [], "k": []}
    for photograph, drawn in pairs:
        start = time.perf_counter()
        result = jgmm.segment(photograph, k, **options)
        found["seconds"].append(time.perf_counter() - start)
        found["k"].append(result.fit.mixture.n_components)
        with np.load(drawn) as file:
            truths = file["segmentations"]
        for kind in ("labels", "regions"):
            found[kind].append(agreement(getattr(result, kind), truths))
    return found


def best_k(by_k: dict[int, list[Agreement]]) -> tuple[dict[str, Any], dict[str, float]]:
    """ODS and OIS: each measure's best value, with the k of the former."""
    ods: dict[str, Any] = {}
    ois: dict[str, float] = {}
    totals = {k: pooled(values) for k, values in by_k.items()}
    for name, better in BETTER.items():
        k = better(totals, key=lambda k: getattr(totals[k], name))  # noqa: B023
        ods[name], ods[f"{name}_k"] = getattr(totals[k], name), k
        rows = zip(*by_k.values(), strict=True)
        chosen = [better(row, key=lambda a: getattr(a, name)) for row in rows]  # noqa: B023
        ois[name] = getattr(pooled(chosen), name)
    return ods, ois


def study(pairs: Sequence[tuple[Path, Path]], options: dict[str, Any]) -> dict[str, Any]:
    """All figures of one method."""
    measure(pairs[:1], options, "auto")  # compiles
    for k in KS:
        measure(pairs[:1], options, k)
    by_k = {k: measure(pairs, options, k) for k in KS}
    auto = measure(pairs, options, "auto")
    figures: dict[str, Any] = {
        "seconds": {str(k): float(np.median(by_k[k]["seconds"])) for k in KS},
        "seconds_auto": float(np.median(auto["seconds"])),
        "chosen_k": auto["k"],
    }
    for kind in ("labels", "regions"):
        ods, ois = best_k({k: by_k[k][kind] for k in KS})
        figures[kind] = {
            "ods": ods,
            "ois": ois,
            "auto": _numbers(pooled(auto[kind])),
            "k": {str(k): _numbers(pooled(by_k[k][kind])) for k in KS},
        }
    return figures


def _numbers(a: Agreement) -> dict[str, float]:
    return {"covering": a.covering, "voi": a.voi, "pri": a.pri, "segments": a.segments}


def table(figures: dict[str, dict[str, Any]]) -> str:
    """The figures in Markdown."""
    lines = [
        "| method | | k | covering ↑ | VoI ↓ | PRI ↑ |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, method in figures.items():
        for kind in ("labels", "regions"):
            rows = {f"best of {', '.join(map(str, KS))}": method[kind]["ods"]}
            rows["best for each photograph"] = method[kind]["ois"]
            rows["chosen by the program"] = method[kind]["auto"]
            if name == "recommended":
                rows |= {str(k): method[kind]["k"][str(k)] for k in KS}
            lines += [_line(name, kind, text, row) for text, row in rows.items()]
    return "\n".join(lines)


def _line(name: str, kind: str, text: str, row: dict[str, Any]) -> str:
    values = f"{row['covering']:.3f} | {row['voi']:.2f} | {row['pri']:.3f}"
    return f"| {name} | {kind} | {text} | {values} |"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--data", type=Path, default=DATA, help="folder of ID.jpg and ID.npz")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--limit", type=int, default=None, help="only so many photographs")
    parser.add_argument(
        "--methods", nargs="+", choices=METHODS, default=list(METHODS), metavar="NAME"
    )
    given = parser.parse_args(arguments)
    pairs = photographs(given.data)[: given.limit]
    if not pairs:
        print(f"no photographs with annotations in {given.data}: nothing to measure")
        return 0
    _runtime.prepare()
    figures = {}
    for name in given.methods:
        figures[name] = study(pairs, METHODS[name])
        seconds = ", ".join(f"{k}: {s:.2f}" for k, s in figures[name]["seconds"].items())
        print(f"{name}: median seconds for k {seconds}; auto: {figures[name]['seconds_auto']:.2f}")
    print(f"\n{len(pairs)} photographs\n\n{table(figures)}")
    if given.json:
        content = {"photographs": len(pairs), "options": {n: METHODS[n] for n in figures}}
        given.json.write_text(json.dumps({**content, "figures": figures}, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
