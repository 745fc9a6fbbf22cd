"""Documents with Flask."""
