"""As in ``tests/file``: every test here has a registry of its own, with one memory backend in it."""

from __future__ import annotations

from tests.file.conftest import call, docs

__all__ = ["call", "docs"]
