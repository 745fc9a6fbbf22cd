"""Migrate: the files of a column move to another backend."""
