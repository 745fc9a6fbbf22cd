"""Adopt: converts documents and files that other libraries wrote."""
