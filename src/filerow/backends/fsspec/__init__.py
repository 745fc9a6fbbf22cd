"""Objects on any fsspec filesystem."""

from __future__ import annotations

from filerow.backends.fsspec.backend import FSSpecBackend

__all__ = ("FSSpecBackend",)
