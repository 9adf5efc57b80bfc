"""How an objective is climbed: one loop, its solvers and stopping rules, and derivatives.

Uses em and what is below it.
"""
