"""Fits of data that come block by block: `fit_stream` and what it does before, within and after.

Uses the rest of fitting and what is below it.
"""
