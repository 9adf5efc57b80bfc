"""Validation of what a caller passes in: TypeError and ValueError that say expected and got.

Shapes and dtypes are checked at trace time too; values only when they are concrete, because a
tracer has none. Data that goes wrong under a trace is reported by `jgmm.Status` instead.
"""

from __future__ import annotations

import numbers
import operator
import reprlib
from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from jgmm._status import PrecisionWarning, warn
from jgmm._status import in_program as in_program

LARGEST = 1e37  # of what a caller may ask for: float32 holds it, and one over it
_told = False  # that float64 is not kept


def is_concrete(x: Any) -> bool:
    """True where ``x`` has values to look at, False for a tracer."""
    return not isinstance(x, jax.core.Tracer)


def all_concrete(tree: Any) -> bool:
    """True where all leaves of a pytree have values to look at."""
    return all(is_concrete(leaf) for leaf in jax.tree.leaves(tree))


def as_array(value: ArrayLike, dtype: Any = None) -> Array:
    """The same as `jax.numpy.asarray`, which compiles a program for each shape of NumPy array.

    This compiles none for what is on the host.
    """
    if not isinstance(value, np.ndarray | np.generic) and (
        dtype is None or not isinstance(value, bool | int | float)
    ):
        return jnp.asarray(value, dtype)
    array = np.asarray(value)
    kept = jax.dtypes.canonicalize_dtype(array.dtype if dtype is None else dtype)
    with np.errstate(all="ignore"):  # what does not fit is infinite, as it is there
        return jax.device_put(array.astype(kept, copy=False))


def floating_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The floating dtype that keeps the values of ``dtype``, as far as JAX is set up to.

    float32 and float64 stay; integers of up to 16 bits and half precision become float32;
    wider integers become JAX's default float.
    """
    if jnp.issubdtype(dtype, jnp.floating):
        return jax.dtypes.canonicalize_dtype(np.promote_types(dtype, np.float32))
    if jnp.issubdtype(dtype, jnp.integer):
        return np.dtype(jnp.float32) if dtype.itemsize <= 2 else np.dtype(jnp.result_type(float))
    raise TypeError(f"pixels: expected integers or floating point numbers, got dtype {dtype}")


def as_pixels(pixels: ArrayLike, n_features: int | None = None, *, missing: bool = False) -> Array:
    """``pixels`` as a floating-point array [..., D]; NaN is let through if ``missing``.

    Raises:
        TypeError: not numeric.
        ValueError: fewer than two axes, no samples, no features, NaN or infinite values, or a
            number of features other than ``n_features``.
    """
    array, dtype = read_pixels(pixels, n_features, missing=missing)
    return as_array(array, dtype)


def read_pixels(
    pixels: ArrayLike, n_features: int | None = None, *, missing: bool = False
) -> tuple[Any, np.dtype[Any]]:
    """The same as the caller has them, and the dtype that they are worked on in."""
    array: Any = pixels if isinstance(pixels, jax.Array) else _as_array(pixels, missing)
    dtype = floating_dtype(array.dtype)
    if n_features is None:
        _refuse_picture(array)
    if array.ndim < 2:
        one = array.ndim == 1 and array.shape[0] == n_features
        raise ValueError(
            f"pixels: expected shape [N, D] or [..., D], got {array.shape}; "
            + ("for one pixel pass pixels[None]" if one else "for one feature pass pixels[:, None]")
            + ("" if one or n_features or array.ndim == 0 else ", for one pixel pixels[None]")
        )
    if 0 in array.shape:
        raise ValueError(f"pixels: expected at least one sample and feature, got {array.shape}")
    if n_features is not None and array.shape[-1] != n_features:
        raise ValueError(
            f"pixels: expected {n_features} features on the last axis, got shape {array.shape}"
        )
    if is_concrete(array) and jnp.issubdtype(array.dtype, jnp.floating):
        if not _all(array, lambda xp, x: xp.isfinite(x) | (missing & xp.isnan(x))):
            raise ValueError("pixels: expected finite values, got NaN or infinity")
    if array.dtype == np.float64 and dtype != np.float64 and not isinstance(pixels, list | tuple):
        _tell_of_precision()
    return array, dtype


def _tell_of_precision() -> None:
    """Warn once that float64 is not kept; not inside a program that is being traced."""
    global _told
    if _told or in_program():
        return
    _told = True
    warn(
        "the pixels are float64, and are worked on in float32, as JAX is set up: fits center them "
        "first, so that nothing is lost that float32 can hold. For float64 call "
        "jax.config.update('jax_enable_x64', True) before JAX is first used; float32 pixels "
        "do without this warning",
        PrecisionWarning,
    )


def _as_array(pixels: Any, missing: bool) -> np.ndarray[Any, Any]:
    """What is no jax array as a NumPy array; masked values are missing ones.

    Raises:
        ValueError: masked values where none may be missing; an image of indices into a palette.
    """
    if isinstance(pixels, np.ma.MaskedArray) and np.ma.getmaskarray(pixels).any():
        if not missing:
            raise ValueError(
                "pixels: expected values, got a masked array: missing='nan' takes what is masked "
                "as missing, pixels.data[~pixels.mask.any(axis=-1)] leaves such pixels out"
            )
        return np.ma.filled(pixels.astype(floating_dtype(pixels.dtype)), np.nan)
    mode = getattr(pixels, "mode", None)  # of Pillow's images
    if isinstance(mode, str) and hasattr(pixels, "convert") and mode not in ("RGB", "HSV", "LAB"):
        raise ValueError(
            f"pixels: expected an array or an image in colour, got one of Pillow's in mode {mode}: "
            "pass image.convert('RGB')"
        )
    return np.asarray(pixels)


_WIDE = 64  # columns at least, of an array that may be a picture
_TALL = 4  # times as many rows as columns at most


def _refuse_picture(array: Any) -> None:
    """Raise a ValueError for [N, D] that is more likely a grey image [H, W] than N samples.

    That is what has many columns, not many times as many rows, and values of images: unsigned
    integers of 8 or 16 bits, or floats from 0 to 1.
    """
    if array.ndim != 2 or array.shape[1] < _WIDE or array.shape[0] > _TALL * array.shape[1]:
        return
    if array.dtype not in (np.uint8, np.uint16):
        if not (jnp.issubdtype(array.dtype, jnp.floating) and is_concrete(array)):
            return
        if not _all(array, lambda xp, x: (x >= 0) & (x <= 1)):
            return
    n, d = array.shape
    raise ValueError(
        f"pixels: {array.dtype} of shape {(n, d)} may be a grey image of {n} x {d} pixels, or {n} "
        f"samples of {d} features: pass image[..., None] for the first (or the "
        "image to jgmm.segment), samples[:, None] for the second"
    )


def as_weights(weights: ArrayLike | None, shape: tuple[int, ...], dtype: Any) -> Array:
    """Sample weights with the leading ``shape`` of the pixels, flattened to [N].

    None means weight 1 for every sample.
    """
    n = int(np.prod(shape))
    if weights is None:
        # On the host nothing is compiled for each n; in a program it would be a large constant.
        return jnp.ones(n, dtype) if in_program() else np.ones(n, dtype)  # type: ignore[return-value]
    array = as_array(weights)
    if array.shape not in (shape, (n,)):
        raise ValueError(f"weights: expected shape {shape} as of the pixels, got {array.shape}")
    if not (
        jnp.issubdtype(array.dtype, jnp.floating)
        or jnp.issubdtype(array.dtype, jnp.integer)
        or array.dtype == jnp.bool_
    ):
        raise TypeError(f"weights: expected real numbers, got dtype {array.dtype}")
    array = array.reshape(n).astype(dtype)
    if is_concrete(array) and not _all_nonnegative(array):
        raise ValueError("weights: expected finite values of at least 0")
    return array


def as_key(key: Any) -> Array:
    """A PRNG key as a caller may give it: an integer is a seed, None is 0.

    Raises:
        TypeError: neither a key nor an integer.
    """
    array = 0 if key is None else key
    if isinstance(array, int | np.integer) and not isinstance(array, bool):
        threefry = getattr(jax.config, "jax_default_prng_impl", None) == "threefry2x32"
        if threefry and 0 <= array < 1 << 31:  # the same, without a program to compile
            data: Any = np.array([0, array], np.uint32)
            return jax.random.wrap_key_data(data, impl="threefry2x32")
        return jax.random.key(array)
    if isinstance(array, jax.Array | np.ndarray):
        if jnp.issubdtype(array.dtype, jax.dtypes.prng_key):
            return as_array(array)
        if array.ndim == 1 and array.dtype == np.uint32:
            return jax.random.wrap_key_data(as_array(array))  # a key of the old kind
        if array.shape == () and jnp.issubdtype(array.dtype, jnp.integer):
            return jax.random.key(array)
    raise TypeError(f"key: expected a JAX PRNG key or an integer, got {key!r}")


def is_zero(value: Any) -> bool:
    """Whether a number is known to be 0."""
    return is_concrete(value) and bool(np.all(np.asarray(value) == 0))


def as_count(name: str, value: Any, minimum: int = 1) -> int:
    """A count as a Python int of at least ``minimum``."""
    if isinstance(value, bool | np.bool_):
        raise TypeError(f"{name}: expected an integer, got {value!r}")
    try:
        count = operator.index(value)
    except TypeError:
        raise TypeError(f"{name}: expected an integer, got {value!r}") from None
    if count < minimum:
        raise ValueError(f"{name}: expected at least {minimum}, got {count}")
    return count


def as_number(name: str, value: Any, low: float, high: float, *, whole: bool = False) -> Any:
    """A plain number from ``low`` to ``high``, ``whole`` or not.

    Raises:
        TypeError: no number, such as a truth value.
        ValueError: one out of bounds, or not finite.
    """
    kind = numbers.Integral if whole else numbers.Real
    expected = f"{name}: expected a {'whole ' if whole else ''}number from {low:g} to {high:g}"
    if isinstance(value, bool) or not isinstance(value, kind):
        raise TypeError(f"{expected}, got {reprlib.repr(value)}")
    number: Any = value
    if not low <= number <= high:
        raise ValueError(f"{expected}, got {reprlib.repr(value)}")
    return number


def as_nonnegative(name: str, value: ArrayLike, dtype: Any, *, zero: bool = True) -> Array:
    """Numbers >= 0, without ``zero`` > 0, as an array of ``dtype``; on the host if it was there."""
    array: Any = value if isinstance(value, jax.Array) else np.asarray(value)
    if not (jnp.issubdtype(array.dtype, jnp.floating) or jnp.issubdtype(array.dtype, jnp.integer)):
        raise TypeError(f"{name}: expected a real number, got {value!r}")
    positive = zero or not is_concrete(array) or _all(array, lambda _, x: x > 0)
    if is_concrete(array) and not (positive and _all_nonnegative(array)):
        bound = "of at least 0" if zero else "above 0"
        raise ValueError(f"{name}: expected a finite number {bound}, got {value!r}")
    converted: Array = array.astype(dtype)
    return converted


def all_or_none(name: str, values: Array) -> Array:
    """Numbers >= 0 of which, if they are known, either all or none are 0."""
    if is_concrete(values) and 0 < int(np.count_nonzero(np.asarray(values))) < values.size:
        raise ValueError(f"{name}: expected all positive or all 0, got {values}")
    return values


def _all_nonnegative(array: Array) -> bool:
    """True where all values are finite and at least 0."""
    return _all(array, lambda xp, x: xp.isfinite(x) & (x >= 0))


def _all(array: Any, test: Callable[[Any, Any], Any]) -> bool:
    """True where ``test(numpy or jax.numpy, values)`` holds for all values of a concrete array."""
    if isinstance(array, jax.Array):
        devices: list[Any] = list(array.sharding.device_set)
        if len(devices) > 1 or devices[0].platform != "cpu":
            return bool(test(jnp, array).all())
    # NumPy has nothing to compile, and a piece at a time takes no memory to speak of.
    flat = np.asarray(array).reshape(-1)
    piece = 1 << 18
    return all(bool(test(np, flat[i : i + piece]).all()) for i in range(0, flat.size, piece))


def one_of(name: str, value: Any, options: Iterable[str]) -> str:
    """``value`` if it is one of ``options``, else a ValueError that lists them."""
    options = tuple(options)
    if value not in options:
        raise ValueError(f"{name}: expected one of {', '.join(options)}; got {reprlib.repr(value)}")
    return str(value)
