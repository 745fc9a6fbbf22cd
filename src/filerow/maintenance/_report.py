"""What a piece of maintenance tells while it works: progress, and what it has found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ("Finding", "Level", "Progress")

Level = Literal["info", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be.

    Attributes:
        code: What it is, for machines: ``missing``, ``size``, ``etag``, ``checksum``, ``orphan``, ``unfinished-upload``, …
        message: What it is, for people; one sentence.
        level: ``error``: data is lost or will be; ``warning``: something is to be done; ``info``: good to know.
        where: The row (``document.file id=3``), the table or the setting.
        backend: Key of the backend; empty where there is none.
        path: The path in it; empty where there is none.
        advice: What to do; empty where there is nothing to do.
        fixed: It has been put right by this run.
    """

    code: str
    message: str
    level: Level = "error"
    where: str = ""
    backend: str = ""
    path: str = ""
    advice: str = ""
    fixed: bool = False


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a piece of maintenance is.

    Attributes:
        step: What is being worked on: a column (``document.file``), a backend or a check.
        done: Items dealt with so far: rows, objects or tombstones.
        total: Items in all, as counted at the beginning; it grows with ``done`` when more are added meanwhile. ``None`` where
            nobody knows.
        transferred: Bytes read or copied so far.
        changed: Items changed so far: deleted, copied, rewritten; in a dry run, that would have been.
        findings: What was found since the last progress.
        cursor: Where to go on after an interruption: pass it as ``resume=``; ``None`` where there is nothing to resume.
    """

    step: str
    done: int = 0
    total: int | None = None
    transferred: int = 0
    changed: int = 0
    findings: tuple[Finding, ...] = ()
    cursor: str | None = None

    def __post_init__(self) -> None:
        if self.total is not None and self.done > self.total:
            object.__setattr__(self, "total", self.done)
