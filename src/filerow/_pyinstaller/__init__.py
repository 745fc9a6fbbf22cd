"""The entry point by which PyInstaller adds ``filerow.js`` to a program."""

from __future__ import annotations

from pathlib import Path


def hook_dirs() -> list[str]:
    """Return the folders of hooks, for the entry point ``pyinstaller40``."""
    return [str(Path(__file__).parent / "hooks")]
