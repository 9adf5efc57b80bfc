"""Pages about a run that any browser shows: whole in themselves, without network or server."""
