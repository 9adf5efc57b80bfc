"""Families: what covariances may look like, and all that depends on it; one file for each kind.

Uses data. `jgmm.families.family.Family` says what a family has to know, `jgmm.families.table` lists
them; `jgmm.families.distribution` is how a component with a covariance is distributed.
"""
