"""Families: what a component's covariance may look like, and all that depends on it.

Uses nothing of jgmm but its underscore modules.
"""
