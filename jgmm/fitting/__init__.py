"""Fits: `fit`, `sweep` and `fit_gradient`, their starts and options, and the choice of k.

Uses solvers, clustering and what is below them.
"""
