"""Fits: `fit`, `sweep` and `fit_gradient`, their starts and options, and the choice of k.

Uses solvers, variational, clustering and what is below them.
"""
