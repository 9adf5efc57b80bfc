"""Images as arrays of any values, up to the samples and colours that are made of them."""

from __future__ import annotations

import dataclasses

import hypothesis
import numpy as np
import pytest
from budget import cases
from hypothesis import strategies as st

from jgmm.image.display import display_of
from jgmm.image.recipe import NAMES, from_metadata
from jgmm.image.regions import find_regions
from jgmm.image.samples import comparable_colours, samples_of, spread
from jgmm.image.texture import local_deviation, with_texture

pytestmark = pytest.mark.usefixtures("plain_process")

KINDS = ("unit", "bytes", "normal", "constant", "two", "one varies", "outlier")
SHAPES = [(6, 8, 3), (6, 8, 1), (5, 7, 5), (1, 1, 3), (1, 9, 3), (9, 1, 1), (10, 10, 3)]


@dataclasses.dataclass(frozen=True)
class Case:
    """How an image is made; what hypothesis shows of a failure is all there is to know."""

    seed: int = 0
    kind: str = "unit"
    shape: tuple[int, int, int] = (6, 8, 3)
    dtype: str = "f4"
    exponent: int = 0  # of the scale, to the base 10
    offset: float = 0.0
    bad: float | None = None
    bad_is_masked: bool = False
    mask: float | None = None  # the share that takes part
    features: str = "rgb"
    weight: float = 1.0

    def image(self) -> np.ndarray:
        """[H, W, C]."""
        rng = np.random.default_rng(self.seed)
        x = rng.random(self.shape)
        if self.kind == "bytes":
            x = rng.integers(0, 256, self.shape).astype(float)
        elif self.kind == "normal":
            x = rng.normal(size=self.shape)
        elif self.kind == "constant":
            x = np.full(self.shape, rng.random() * 255)
        elif self.kind == "two":
            x = rng.integers(0, 2, self.shape[:2])[..., None] * rng.random(self.shape[2])
        elif self.kind == "one varies":
            x[..., 1:] = x[0, 0, 1:]
        elif self.kind == "outlier":
            x[0, 0] = 1e6
        with np.errstate(all="ignore"):
            x = (x + self.offset) * 10.0**self.exponent
        kind = np.dtype(self.dtype)
        if kind.kind in "iu":
            limits = np.iinfo(kind)
            x = np.clip(x, float(limits.min) / 2, float(limits.max) / 2)
        with np.errstate(all="ignore"):
            x = x.astype(kind)
        if self.bad is not None and kind.kind == "f":
            x[self.place] = self.bad
        return x

    @property
    def place(self) -> tuple[int, int, int]:
        """Where what is bad stands."""
        return (0, self.seed % self.shape[1], 0)

    def part(self) -> np.ndarray | None:
        """[H, W] bool, or none."""
        if self.mask is None:
            return None
        part = np.random.default_rng(self.seed + 1).random(self.shape[:2]) < self.mask
        if self.bad_is_masked:
            part[self.place[:2]] = False
        return part


CASES = st.builds(
    Case,
    seed=st.integers(0, 10**6),
    kind=st.sampled_from(KINDS),
    shape=st.sampled_from(SHAPES),
    dtype=st.sampled_from(
        ["u1", "u2", "i2", "i4", "u4", "i8", "?", "f2", "f4", "f8", ">f4", ">u2"]
    ),
    exponent=st.one_of(st.just(0), st.integers(-4, 10), st.integers(-320, 308)),
    offset=st.sampled_from([0.0, 0.0, 1.0, -10.0, 1e4, 1e9]),
    bad=st.sampled_from([None, None, None, np.nan, np.inf, -np.inf]),
    bad_is_masked=st.booleans(),
    mask=st.sampled_from([None, None, 0.02, 0.5, 1.0]),
    features=st.sampled_from(NAMES),
    weight=st.sampled_from([1.0, 1e-30, 1e30]),
)


@hypothesis.given(CASES)
@cases("images")
def test_images_of_any_values(case: Case) -> None:
    image, part = case.image(), case.part()
    try:
        samples = samples_of(image, case.features, mask=part, xy_weight=case.weight)
    except ValueError as error:
        assert "expected" in str(error)  # noqa: PT017
        assert len(str(error)) < 300  # noqa: PT017
        return
    inside = np.ones(case.shape[:2], bool) if part is None else part
    x = samples.features
    assert np.isfinite(x).all()
    assert samples.weights.sum() == pytest.approx(inside.sum())
    assert ((samples.floor > 0) & (samples.floor <= 1)).all()
    np.testing.assert_array_equal(samples.mask, inside)
    recipe = from_metadata(samples.recipe.to_metadata())
    assert recipe == samples.recipe
    n = x.shape[1] - 2 * recipe.has_position
    if recipe.base == "bands":
        w = samples.weights / samples.weights.sum()
        spreads = np.sqrt(w @ (x[:, :n] - w @ x[:, :n]) ** 2)
        assert ((spreads < 1e-3) | (abs(spreads - 1) < 1e-2)).all()
    # Of what is constant; float32 may hide what varies far from 0.
    if recipe.has_position and (image[inside] == image[inside][0]).all():
        assert recipe.position == pytest.approx(case.weight)
    colours = comparable_colours(spread(samples, samples.colours, 0), inside)
    assert np.isfinite(colours).all()
    pictured = with_texture(colours, local_deviation(colours, inside, 0.023))
    labels = np.where(inside, np.random.default_rng(case.seed).integers(0, 2, inside.shape), -1)
    regions = find_regions(labels, pictured, min_region=2, merge=5.0)
    np.testing.assert_array_equal(regions >= 0, inside)
    assert display_of(image, inside)(image).shape == (*case.shape[:2], 4)
