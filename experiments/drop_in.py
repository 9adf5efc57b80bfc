"""One script in two libraries: fit, compare k by BIC, save, load, score and sample.

    python -m experiments.drop_in [--tests]

Nothing but the import differs; both print the same figures. With jgmm a fitted estimator can also
be kept in a safetensors file, which unlike a pickle runs no code when it is read.

With --tests scikit-learn's own tests of BayesianGaussianMixture are run, with jgmm's in its place.
"""

from __future__ import annotations

import importlib
import os
import pickle
import sys
import tempfile
from pathlib import Path

import numpy as np

LIBRARIES = ("sklearn.mixture", "jgmm.sklearn")


def pixels(seed: int = 0) -> np.ndarray:
    """Colours [3000, 3] of three overlapping kinds."""
    rng = np.random.default_rng(seed)
    kinds = [(1400, 0.2, 0.05), (1000, 0.5, 0.1), (600, 0.75, 0.08)]
    return np.concatenate([rng.normal(mean, sd, size=(n, 3)) for n, mean, sd in kinds])


def script(library: str) -> list[str]:
    """What a user's script does with a library's GaussianMixture, and the lines it prints."""
    mixture = importlib.import_module(library).GaussianMixture
    x = pixels()
    fits = {k: mixture(k, random_state=0, tol=1e-6, max_iter=2000).fit(x) for k in range(1, 6)}
    lines = [f"k = {k}: BIC {fit.bic(x):.3f}" for k, fit in fits.items()]
    best = min(fits.values(), key=lambda fit: fit.bic(x))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.pickle")
        path.write_bytes(pickle.dumps(best))
        again = pickle.loads(path.read_bytes())
    lines.append(f"best k {again.n_components}, {again.n_iter_} steps")
    lines.append(f"weights {np.sort(again.weights_).round(5)}")
    lines.append(f"score {again.score(x):.6f}")
    lines.append(f"labels {np.bincount(again.predict(x))}")
    lines.append(f"sample {again.sample(2)[0].round(5).tolist()}")
    return lines


def kept_by_jgmm() -> list[str]:
    """The same model through `jgmm.save` and `jgmm.load`, and its score before and after."""
    import jax

    import jgmm
    from jgmm.sklearn import GaussianMixture, from_mixture, to_mixture

    x = pixels()
    fitted = GaussianMixture(3, random_state=0, tol=1e-6, max_iter=2000).fit(x)
    with tempfile.TemporaryDirectory() as folder, jax.enable_x64(True):
        jgmm.save(f"{folder}/model.safetensors", to_mixture(fitted))
        again = from_mixture(jgmm.load(f"{folder}/model.safetensors"))
    return [f"score {fitted.score(x):.6f}, as loaded {again.score(x):.6f}"]


def run_their_tests() -> int:
    """Scikit-learn's tests of BayesianGaussianMixture with jgmm's; the exit status of pytest."""
    import pytest
    from sklearn.mixture.tests import test_bayesian_mixture as theirs

    from jgmm.sklearn import BayesianGaussianMixture

    class InPlace:
        """Puts the class in, whichever way pytest imports the module."""

        def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
            for item in items:
                item.module.BayesianGaussianMixture = BayesianGaussianMixture  # type: ignore[attr-defined]

    where = ["-q", "-c", os.devnull, "--rootdir", os.path.dirname(theirs.__file__), theirs.__file__]
    return int(pytest.main([*where, "-p", "no:cacheprovider"], plugins=[InPlace()]))


def main() -> None:
    """Print what the script prints in both libraries, and whether it is the same."""
    if "--tests" in sys.argv[1:]:
        sys.exit(run_their_tests())
    printed = {library: script(library) for library in LIBRARIES}
    for library, lines in printed.items():
        print(f"from {library} import GaussianMixture")
        print("\n".join(f"  {line}" for line in lines))
    print("through jgmm.save and jgmm.load")
    print("\n".join(f"  {line}" for line in kept_by_jgmm()))
    print("the same" if len(set(map(tuple, printed.values()))) == 1 else "not the same")


if __name__ == "__main__":
    main()
