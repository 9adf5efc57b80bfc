"""Programs for GPUs and TPUs, made on a machine that has neither."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from examples import FAMILIES, D, K, N, X
from jax import export

import jgmm
from jgmm.families import table

EVERY = (*table.FAMILIES, *(f"{kind}(2)" for kind in table.OF_RANK))
PIXELS = jax.ShapeDtypeStruct((N, D), jnp.float32)


def fit_of(family: str, **options: Any) -> Any:
    return jax.jit(lambda x: jgmm.fit(x, K, covariance_type=family, **options).mixture)


@pytest.mark.parametrize(
    ("family", "options"),
    [
        *((family, {"search": "none"}) for family in EVERY),
        # The search, and gaps, with all that they need.
        *((family, {"prior": "weak", "missing": "nan"}) for family in FAMILIES),
    ],
)
def test_a_fit_is_exported_for_other_platforms(family: str, options: dict[str, Any]) -> None:
    """Lowered to operations that those have, none of which is a call of this machine's."""
    program = export.export(fit_of(family, **options), platforms=("cuda", "tpu"))(PIXELS)
    assert program.platforms == ("cuda", "tpu")
    mixture = jax.tree.unflatten(program.out_tree, program.out_avals)
    assert mixture.covariance_type == family
    assert mixture.weights.shape == (K,)
    assert mixture.means.shape == (K, D)
    assert mixture.covariances.shape == mixture.family.shape(K, D)
    assert {leaf.dtype for leaf in program.out_avals} == {jnp.dtype(jnp.float32)}


@pytest.mark.filterwarnings("ignore::jgmm.FitWarning")
def test_an_exported_fit_is_the_fit() -> None:
    """One program for all three platforms, on the one that is here."""
    options: dict[str, Any] = {"search": "none", "max_iter": 10, "tol": 0.0}
    program = export.export(fit_of("diag", **options), platforms=("cpu", "cuda", "tpu"))(PIXELS)
    x = X.astype(np.float32)
    expected = jgmm.fit(x, K, covariance_type="diag", **options).mixture
    exported = program.call(x)
    for a, b in zip(jax.tree.leaves(exported), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
