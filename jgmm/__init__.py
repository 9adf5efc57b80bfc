"""Gaussian mixture models for pixels, in JAX.

    result = jgmm.fit(pixels, k)             # any array [N, D]
    picture = jgmm.segment("photo.jpg", k)   # any image

The functions below work on NumPy and jax arrays. Those of images and files (`segment`, `apply`,
`save`, `load`, `load_model`), `keep_programs` and `use_all_cores` work on the host, all others
under `jax.jit` and `jax.vmap` too.
"""

import lazy_loader

__version__ = "0.1.0"
# What there is stands in __init__.pyi, and loads when first used: the command line has to answer to
# Ctrl-C, and to look at the environment, before JAX is there.
__getattr__, __dir__, _names = lazy_loader.attach_stub(__name__, __file__)
_MODULES = ("image", "interop", "plot", "sklearn")  # which need libraries of their own
__all__ = [name for name in _names if name not in _MODULES]
