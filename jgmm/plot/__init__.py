"""Figures by matplotlib: learning curves, mixtures over their data, colours, segmentations.

Each function builds a `matplotlib.figure.Figure` of its own, or draws into axes that it is given,
and never touches pyplot, so that no backend is chosen, nothing leaks and any thread may draw.
"""

from jgmm.plot._canvas import PALETTE as PALETTE
from jgmm.plot._canvas import save as save
from jgmm.plot._colours import certainty as certainty
from jgmm.plot._colours import colours as colours
from jgmm.plot._colours import palette as palette
from jgmm.plot._comparison import comparison as comparison
from jgmm.plot._criteria import criteria as criteria
from jgmm.plot._curves import learning_curve as learning_curve
from jgmm.plot._curves import learning_curves as learning_curves
from jgmm.plot._mixtures import classification as classification
from jgmm.plot._mixtures import components as components
from jgmm.plot._mixtures import density as density
