"""Directories as a test cannot make them: with the code for Windows on another system, and with a short page of names."""

from __future__ import annotations

import pytest

from filerow.backends.local import directory


def hold(monkeypatch: pytest.MonkeyPatch, *, by_descriptor: bool, unnamed: bool = True) -> None:
    """Let directories be held by descriptors, or by paths as on Windows; or let the system know no files without a name."""
    monkeypatch.setattr(directory, "BY_DESCRIPTOR", by_descriptor)
    if not unnamed:
        monkeypatch.setattr(directory, "UNNAMED", None)


def page_by(monkeypatch: pytest.MonkeyPatch, names: int) -> None:
    """Limit the names of a folder that a listing holds at a time."""
    monkeypatch.setattr(directory, "_PAGE", names)
