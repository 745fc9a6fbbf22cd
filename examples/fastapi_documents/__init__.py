"""Documents with FastAPI."""
