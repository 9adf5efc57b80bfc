"""Data that come block by block: sources, chunks of what they give, counts, a sample.

Uses the rest of data.
"""
