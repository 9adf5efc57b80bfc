"""Figures by matplotlib: learning curves, mixtures over their data, colours, segmentations.

Each function takes a fit or a mixture, a sweep or arrays, draws into the axes given as ``ax`` or
into those of a new figure, and returns the axes; `comparison`, which has several, returns its
figure. `save` writes either.

In a Jupyter notebook the new figure is one of pyplot, shown at the end of the cell. Elsewhere
pyplot is never touched, so that no backend is chosen, nothing leaks and any thread may draw.

Uses fitting and what is below it.
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
