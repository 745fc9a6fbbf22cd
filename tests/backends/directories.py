"""What of a directory cannot be had by asking for it: the way of Windows on another system, and a short page of names."""

from __future__ import annotations

import pytest

from filerow.backends.local import directory


def hold(monkeypatch: pytest.MonkeyPatch, *, by_descriptor: bool) -> None:
    """Let directories be held by descriptors, or by paths as on Windows."""
    monkeypatch.setattr(directory, "BY_DESCRIPTOR", by_descriptor)


def page_by(monkeypatch: pytest.MonkeyPatch, names: int) -> None:
    """Let a listing hold so many names of a folder at a time."""
    monkeypatch.setattr(directory, "_PAGE", names)
