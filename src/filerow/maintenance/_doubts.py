"""Findings about rows that cannot be understood, and about places."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from filerow.maintenance._report import Finding
from filerow.outbox._places import Note

KEPT = frozenset({"unreadable-documents", "unknown-backend"})
"""Codes of findings that report: not everything could be judged, so unreferenced objects may have been kept."""


def doubts(unreadable: Mapping[str, int], strange: Mapping[str, str]) -> Iterator[Finding]:
    """Yield a finding for each unreadable column and each unregistered backend.

    Args:
        unreadable: How many documents, by column.
        strange: Keys of backends, each with a path that a row names under it.
    """
    for name, count in sorted(unreadable.items()):
        documents = f"{count:,} documents" if count > 1 else "a document"
        message = f"this release cannot read {documents} of this column, so all files of its table are kept"
        advice = "upgrade Filerow, or have filerow check name the rows and repair them"
        yield Finding("unreadable-documents", message, "error", name, advice=advice)
    for key, path in sorted(strange.items()):
        message = f"rows name objects under the backend {key!r}, which is not registered; they are kept"
        yield Finding("unknown-backend", message, "error", backend=key, path=path, advice=f"register a backend under {key!r}")


def about_place(note: Note) -> Finding:
    """Return a message about a place as a finding."""
    advice = "look at what was found, then run it again: the next run deletes" if note.code == "first-run" else ""
    return Finding(note.code, note.message, "warning", backend=note.backend, advice=advice)
