"""Objects as files in a directory."""

from __future__ import annotations

from filerow.backends.local.backend import LocalBackend

__all__ = ("LocalBackend",)
