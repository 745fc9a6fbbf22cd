"""What PyInstaller asks of the package: where the hook is that adds ``filerow.js`` to a frozen program."""

from __future__ import annotations

from pathlib import Path

__all__ = ("hook_dirs",)


def hook_dirs() -> list[str]:
    """Return the folders of hooks; the entry point ``hook-dirs`` of the group ``pyinstaller40`` names this function."""
    return [str(Path(__file__).parent / "hooks")]
