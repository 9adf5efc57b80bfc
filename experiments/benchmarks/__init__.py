"""Benchmarks: jgmm against its peers, answers compared before times."""
