"""Objects on S3, Google Cloud Storage, Azure and others, through obstore."""

from __future__ import annotations

from filerow.backends.obstore.backend import ObstoreBackend

__all__ = ("ObstoreBackend",)
