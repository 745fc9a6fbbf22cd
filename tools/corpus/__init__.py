"""The corpus of ``tests/corpus``: ``python -m tools.corpus`` prints its table, ``tools.corpus.make`` makes its files."""
