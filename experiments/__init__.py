"""Programs that show and measure what jgmm does; run them from the repository's root."""
