"""Pages about a run that any browser shows: whole in themselves, without network or server.

Uses image and what is below it. Where they are written is decided in `jgmm.cli`.
"""
