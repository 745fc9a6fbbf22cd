"""Turn what a committed transaction has changed into events for the application.

A transaction may change a column several times. What counts is what the row owned before and after
it, so the reports of one column are joined to one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from sqlalchemy.orm import InstanceState

from filerow._file.object import FileObject, facts_of
from filerow._orm.fields import Slot, SlotChange
from filerow._orm.ledger import Frame, Report
from filerow._orm.ownership import Ref, ref_of
from filerow.exceptions import DocumentError
from filerow.hooks import Event


def events_of(frame: Frame, deleted: Mapping[Ref, Exception | None]) -> list[Event]:
    """Return the events of a committed transaction.

    Args:
        frame: What it has done.
        deleted: Of each object that was to be deleted afterwards, why it was not.
    """
    owners = {ref: report for report in frame.reports for ref in report.old}
    events = [event for report in _joined(frame.reports) for event in _changes(report)]
    for ref, error in deleted.items():
        place = _place(ref, owners.get(ref))
        if error is not None:
            events.append(Event(kind="failed", operation="delete", error=error, **place))
        elif ref in owners and ref not in frame.stored:  # an object of this transaction alone was never a committed row's
            events.append(Event(kind="deleted", **place))
    return events


def failure_of(change: SlotChange, file: FileObject, error: Exception) -> Event:
    """Return the event of a file that could not be stored."""
    facts = facts_of(file)
    backend = getattr(error, "backend", None) or facts.backend or change.backend
    return Event(
        kind="failed", backend=backend, path=facts.path, file=_view(file), operation="store", error=error, **_row(change.slot)
    )


def _joined(reports: Iterable[Report]) -> list[Report]:
    """Return one report for each column of each row, in order."""
    found: dict[Any, Report] = {}
    for number, report in enumerate(reports):
        key = _key(report.slot)
        where = number if key is None else (report.slot.field.column, key)
        first = found.get(where)
        known = () if first is None else first.known
        found[where] = report._replace(old=report.old if first is None else first.old, known=(*known, *report.known))
    return list(found.values())


def _changes(report: Report) -> Iterator[Event]:
    new = {ref_of(file): file for file in report.new}
    added = [ref for ref in new if ref not in report.old]
    lost = [ref for ref in report.old if ref not in new]
    if added and lost and not report.slot.field.type.multiple:
        [former, *_] = lost
        yield Event(kind="replaced", former=(former.backend, former.path), **_place(added[0], report))
        return
    for ref in added:
        yield Event(kind="stored", **_place(ref, report))
    for ref in lost:
        yield Event(kind="removed", **_place(ref, report))


def _place(ref: Ref, report: Report | None) -> dict[str, Any]:
    """Return what an event says of an object and the row that owns or owned it."""
    place: dict[str, Any] = {"backend": ref.backend, "path": ref.path}
    if report is None:
        return place
    file = next((one for one in (*report.new, *report.known) if ref_of(one) == ref), None)
    return {**place, **_row(report.slot), "file": None if file is None else _view(file)}


def _view(file: FileObject) -> dict[str, Any] | None:
    """Return what clients may see of a file.

    It is ``None`` where its document cannot be read: no event may spoil a commit.
    """
    try:
        return file.public_view()
    except DocumentError:
        return None


def _row(slot: Slot) -> dict[str, Any]:
    column = slot.field.column
    table = column.table
    return {"table": getattr(table, "fullname", slot.field.table), "column": column.name, "row": _key(slot)}


def _key(slot: Slot) -> tuple[Any, ...] | None:
    owner = slot.owner
    if isinstance(owner, InstanceState):
        return None if owner.key is None else tuple(owner.key[1])
    return owner if isinstance(owner, tuple) else None
