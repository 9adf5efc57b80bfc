"""Samples: where they come from, how they are cut into blocks, and the fold that goes over them.

Uses nothing of jgmm but its underscore modules.
"""
