"""Measurements against hand-written SQLAlchemy and obstore. Not tests: they print a table, and machines are noisy."""
