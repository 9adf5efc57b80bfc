"""Variational Bayes: posteriors of mixtures as data, and the evidence bound.

A step is a pass over the data as one of EM is; see `jgmm.fitting.variational` for the fit.
Uses em and what is below it.
"""
