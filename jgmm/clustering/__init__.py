"""k-means: k-means++, Lloyd's steps, and `kmeans`.

Uses data.
"""
