"""Forked servers, workers, threads and event loops: everything works or raises the clear error, and nothing hangs."""
