"""What maintenance reports while it works: progress and findings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["info", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Finding:
    """A problem, or a fact worth knowing.

    Attributes:
        code: The kind, for machines: ``missing``, ``size``, ``etag``, ``checksum``, ``orphan``, ``unfinished-upload``, …
        message: What was found, for people; one sentence.
        level: ``error``: data is or will be lost; ``warning``: something must be done; ``info``: good to know.
        where: The row (``document.file id=3``), the table or the setting.
        backend: Key of the backend; empty if there is none.
        path: The path in it; empty if there is none.
        advice: What to do; empty if there is nothing to do.
        fixed: True if this run has fixed it.
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
    """The progress of a piece of maintenance.

    Attributes:
        step: The present step: a column (``document.file``), a backend or a check.
        done: Items handled so far: rows, objects or tombstones.
        total: All items, as counted at the beginning; it grows with ``done`` if more are added. ``None`` if unknown.
        transferred: Bytes read or copied so far.
        changed: Items changed so far: deleted, copied, rewritten.
        would_change: Items that a run which is not a dry run would change.
        too_young: Items passed over because their time has not come; those that were not even listed are not counted.
        findings: What was found since the last progress.
        cursor: Where to continue after an interruption: pass it as ``resume=``; ``None`` if there is nothing to resume.
    """

    step: str
    done: int = 0
    total: int | None = None
    transferred: int = 0
    changed: int = 0
    would_change: int = 0
    too_young: int = 0
    findings: tuple[Finding, ...] = ()
    cursor: str | None = None

    def __post_init__(self) -> None:
        if self.total is not None and self.done > self.total:
            object.__setattr__(self, "total", self.done)
