"""One small program for each extra, run where nothing but ``filerow[EXTRA]`` is installed: it stores a file and gets it back."""
