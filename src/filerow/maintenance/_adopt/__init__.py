"""Adopt: documents and files that other libraries wrote become ours."""
