"""Tables of what works for mixtures of which family and distribution, made by trying it.

    python -m experiments.what_works          prints them
    python -m experiments.what_works --write  puts them into FAMILIES.md

Programs are traced and not compiled: what is refused is refused then. What a file or scikit-learn
takes, and what a stream reads, is tried on the host.
"""

from __future__ import annotations

import argparse
import re
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

import jgmm
from jgmm.families.distributions import DISTRIBUTIONS
from jgmm.families.table import FAMILIES, MCLUST, OF_RANK, family_of
from jgmm.fitting.choices import Choices
from jgmm.fitting.streams import wishes

PAGE = Path(__file__).with_name("FAMILIES.md")
BEGIN, END = "<!-- what works: begin -->\n", "<!-- what works: end -->\n"
K, D, N = 2, 4, 24
RANK = 2
NdArray = npt.NDArray[Any]

NAMES = (
    *MCLUST,
    *(name for name in FAMILIES if name not in MCLUST),
    *(f"{kind}({RANK})" for kind in OF_RANK),
)


def samples() -> NdArray:
    """[N, D]."""
    return np.random.default_rng(0).normal(size=(N, D)).astype(np.float32)


def mixture_of(name: str, distribution: str) -> jgmm.Mixture:
    """One of the family, of components of a distribution."""
    family, rng = family_of(name), np.random.default_rng(1)
    factors = rng.normal(size=(K, D, 2 * D)).astype(np.float32)
    matrices = factors @ factors.swapaxes(1, 2) / (2 * D)
    weights = np.full(K, 1 / K, np.float32)
    covariances = np.asarray(family.shared_out(matrices, weights))
    means = rng.normal(size=(K, D)).astype(np.float32)
    degrees = {"degrees_of_freedom": 5.0} if DISTRIBUTIONS[distribution].shaped else {}
    return jgmm.Mixture(weights, means, covariances, family, **degrees)  # type: ignore[arg-type]


def options_of(mixture: jgmm.Mixture) -> dict[str, Any]:
    """For a fit like a mixture."""
    return {
        "covariance_type": mixture.covariance_type,
        "distribution": mixture.distribution.name,
    }


Operation = Callable[[jgmm.Mixture, NdArray], str | None]


def _traced(function: Callable[[jgmm.Mixture, jax.Array], Any]) -> Operation:
    def run(mixture: jgmm.Mixture, x: NdArray) -> None:
        jax.eval_shape(function, mixture, x)

    return run


def _fitted(**options: Any) -> Operation:
    fit = options.pop("fit", jgmm.fit)
    brief = {"max_iter": 2, "search": "none", "accelerate": False}
    limits = {"n_steps": 2} if fit is jgmm.fit_gradient else brief

    def run(mixture: jgmm.Mixture, x: NdArray) -> None:
        every = {**options_of(mixture), **limits, **options}
        jax.eval_shape(lambda x: fit(x, K, **every), x)

    return run


def _differentiated(mixture: jgmm.Mixture, x: NdArray) -> None:
    def value(x: jax.Array) -> jax.Array:
        fit = jgmm.fit(x, K, max_iter=2, search="none", accelerate=False, **options_of(mixture))
        return jnp.sum(fit.mixture.means)

    jax.eval_shape(jax.grad(value), x)


def _part(function: Callable[[jgmm.Mixture], jgmm.Mixture]) -> Operation:
    """The family of what comes out, where it is another."""

    def run(mixture: jgmm.Mixture, x: NdArray) -> str | None:
        family = jax.eval_shape(function, mixture).family
        return None if family == mixture.family else str(family.name)

    return run


def _filed(mixture: jgmm.Mixture, x: NdArray) -> None:
    with tempfile.TemporaryDirectory() as folder:
        jgmm.save(f"{folder}/model", mixture)
        assert jgmm.load(f"{folder}/model").family == mixture.family


def _to_sklearn(mixture: jgmm.Mixture, x: NdArray) -> str | None:
    name = str(jgmm.sklearn.from_mixture(mixture).covariance_type)
    return None if name == mixture.covariance_type else name


def _streamed(passes: int | None) -> Operation:
    def run(mixture: jgmm.Mixture, x: NdArray) -> None:
        choices = Choices(**options_of(mixture))
        wishes.read([x], K, choices, passes=passes, chunk=None)

    return run


LABELS = np.where(np.arange(N) < K, np.arange(N), -1)
OPERATIONS: dict[str, Operation] = {
    "`log_prob`, `predict`": _traced(jgmm.log_prob),
    "the same, `missing`": _traced(lambda m, x: jgmm.log_prob(m, x, missing="nan")),
    "`sample`": _traced(lambda m, x: jgmm.sample(m, 3)),
    "`marginal`": _part(lambda m: jgmm.marginal(m, [0, 2])),
    "`condition`": _part(lambda m: jgmm.condition(m, [0], jnp.zeros(1))),
    "`entropy`": _traced(lambda m, x: jgmm.entropy(m)),
    "`kl_divergence`": _traced(lambda m, x: jgmm.kl_divergence(m, m, n=10)),
    "`bic`": _traced(jgmm.bic),
    "`standard_errors`": _traced(jgmm.standard_errors),
    "`save`": _filed,
    "`from_mixture`": _to_sklearn,
    "`e_step`, `m_step`": _traced(
        lambda m, x: jgmm.em_step(m, x, covariance_type=m.covariance_type)
    ),
    "`fit`": _fitted(),
    "`prior`": _fitted(prior="weak"),
    "`missing`": _fitted(missing="nan"),
    "`labels`": _fitted(labels=LABELS),
    "its derivative": _differentiated,
    "`fit_gradient`": _fitted(fit=jgmm.fit_gradient),
    "`fit_stream`": _streamed(None),
    "`passes`": _streamed(1),
    "`partial_fit`": _traced(lambda m, x: jgmm.partial_fit(m, x).mixture),
}


def row(
    name: str, distribution: str, operations: Sequence[str] = tuple(OPERATIONS)
) -> dict[str, str]:
    """What each operation says for a family: yes, the family that comes out, or why not."""
    mixture, x, said = mixture_of(name, distribution), samples(), {}
    for operation in operations:
        try:
            said[operation] = OPERATIONS[operation](mixture, x) or "yes"
        except (TypeError, ValueError, NotImplementedError) as error:
            said[operation] = f"no: {error}".split("\n")[0]
    return said


def _of_any(said: str, name: str) -> str:
    """What is said of a family, without its name."""
    return re.sub(rf"\b(got|with|of) {re.escape(name)}(?!\w)", r"\1 this family", said)


def table(rows: dict[str, dict[str, str]]) -> str:
    """Markdown: operations down, families across, those that are alike together; reasons below."""
    alike: dict[tuple[str, ...], list[str]] = {}
    for name, said in rows.items():
        answers = tuple(_of_any(said[operation], name) for operation in OPERATIONS)
        alike.setdefault(answers, []).append(name)
    reasons: dict[str, int] = {}

    def cell(said: str) -> str:
        if not said.startswith("no: "):
            return said
        reason = said.removeprefix("no: ")
        return f"no ({reasons.setdefault(reason, len(reasons) + 1)})"

    lines = [
        "| | " + " | ".join(map(", ".join, alike.values())) + " |",
        "| --- |" + " --- |" * len(alike),
    ]
    for operation, answers in zip(OPERATIONS, zip(*alike, strict=True), strict=True):
        lines.append(f"| {operation} | " + " | ".join(map(cell, answers)) + " |")
    lines += ["", *(f"{n}. {reason}" for reason, n in reasons.items())]
    return "\n".join(lines) + "\n"


def headed(tables: dict[str, str]) -> str:
    """All tables, each below the name of its distribution."""
    return "\n".join(f"With `{name}` components:\n\n{made}" for name, made in tables.items())


def on_page() -> dict[str, str]:
    """The tables that the page has, by distribution."""
    text = PAGE.read_text(encoding="utf-8").split(BEGIN)[1].split(END)[0]
    parts = [part.split("` components:\n\n") for part in text.split("With `")[1:]]
    return {name: made.rstrip("\n") + "\n" for name, made in parts}


def read(text: str) -> dict[str, dict[str, str]]:
    """What a table says of each family, by operation; reasons spelled out."""
    lines = text.strip().split("\n")
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if "|" in line]
    reasons = dict(line.split(". ", 1) for line in lines if line and line[0].isdigit())
    found: dict[str, dict[str, str]] = {}
    for column, names in list(enumerate(cells[0]))[1:]:
        for name in names.split(", "):
            said = {line[0]: line[column] for line in cells[2:]}
            for operation, cell in said.items():
                why = cell.removeprefix("no (").removesuffix(")")
                if why != cell:
                    said[operation] = "no: " + reasons[why].replace("this family", name)
            found[name] = said
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table, or write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="into FAMILIES.md")
    write = parser.parse_args(arguments).write
    tables = {d: table({name: row(name, d) for name in NAMES}) for d in DISTRIBUTIONS}
    made = headed(tables)
    if not write:
        print(made)
        return
    before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
    PAGE.write_text(before + BEGIN + made + END + rest.split(END)[1], encoding="utf-8")


if __name__ == "__main__":
    main()
