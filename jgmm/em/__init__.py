"""The EM algorithm: its two steps, priors, the problem that a fit solves, and its result.

Uses mixture and what is below it.
"""
