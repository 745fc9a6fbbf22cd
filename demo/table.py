"""One line per step, in plain columns; colour only where somebody looks."""

from __future__ import annotations

import os
from typing import TextIO

__all__ = ("Table",)

_GREEN, _RED, _DIM, _PLAIN = "\033[32m", "\033[31m", "\033[2m", "\033[0m"
_NAME, _VERDICT = 44, 15


class Table:
    """Writes the demo's lines.

    Args:
        out: Where to.
    """

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._colour = out.isatty() and "NO_COLOR" not in os.environ

    def title(self, text: str) -> None:
        """Write what this run is about, what a verdict means, and the heads of the columns."""
        self._write(f"Filerow demo: {text}")
        self._write(
            "After each step every object is read and compared with the rows; ok means none is lost, wrong or left over.\n"
        )
        self._write(self._paint(_DIM, f"{'step':<{_NAME}}{'rows':>5}{'objects':>9}  {'verdict':<{_VERDICT}}{'ms':>7}"))

    def line(self, step: str, rows: int, objects: int, verdict: str, *, seconds: float, note: str = "") -> None:
        """Write one step that went well."""
        painted = self._paint(_GREEN, f"{verdict:<{_VERDICT}}")
        end = f"  {self._paint(_DIM, note)}" if note else ""
        self._write(f"{step:<{_NAME}}{rows:>5}{objects:>9}  {painted}{seconds * 1000:>7.0f}{end}")

    def failure(self, step: str, seconds: float) -> None:
        """Write the step that did not."""
        painted = self._paint(_RED, f"{'FAILED':<{_VERDICT}}")
        self._write(f"{step:<{_NAME}}{'':>5}{'':>9}  {painted}{seconds * 1000:>7.0f}")

    def summary(self, text: str) -> None:
        """Write the last line."""
        self._write(f"\n{text}")

    def _paint(self, colour: str, text: str) -> str:
        return f"{colour}{text}{_PLAIN}" if self._colour else text

    def _write(self, text: str) -> None:
        print(text, file=self._out, flush=True)
