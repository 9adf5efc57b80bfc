"""Mixtures as distributions of NumPyro and TensorFlow Probability, and back."""

from jgmm.mixture.conversions import from_numpyro as from_numpyro
from jgmm.mixture.conversions import from_tfp as from_tfp
from jgmm.mixture.conversions import to_numpyro as to_numpyro
from jgmm.mixture.conversions import to_tfp as to_tfp
