"""Figures by matplotlib: learning curves, and the original beside its segmentations.

Each function builds a `matplotlib.figure.Figure` of its own and never touches pyplot, so that
no backend is chosen, nothing leaks and any thread may draw.
"""

from jgmm.plot._canvas import PALETTE as PALETTE
from jgmm.plot._canvas import save as save
from jgmm.plot._comparison import comparison as comparison
from jgmm.plot._criteria import criteria as criteria
from jgmm.plot._curves import learning_curve as learning_curve
from jgmm.plot._curves import learning_curves as learning_curves
