"""The EM algorithm, a step at a time: E-step, M-step, priors, incomplete data, the problem.

Uses mixture and what is below it.
"""
