"""The mixture as a value: its densities, what follows from it, criteria, files, conversions.

Uses families and data.
"""
