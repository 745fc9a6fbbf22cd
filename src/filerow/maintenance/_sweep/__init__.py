"""Sweep: objects that no row owns."""
