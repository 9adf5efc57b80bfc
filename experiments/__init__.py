"""Experiments: what the package does on real data, as scripts to be read."""
