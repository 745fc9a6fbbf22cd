"""Decides for a sweep where to begin, what to judge and when to stop. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from filerow._paths import path_before, time_in
from filerow.backends._types import ObjectInfo
from filerow.maintenance._derived import StoredVariant
from filerow.maintenance._listing import Folder

Found: TypeAlias = dict[str, tuple[float, int | None]]
"""Generated paths, each with the time at which it was generated and the size of its object."""

CLOCKS = 60.0
"""Seconds that clocks may differ by without being wrong."""

SUSPICIOUS = 100
"""This many objects without a row are nothing unusual, however few have one."""


@dataclass(frozen=True, slots=True)
class SweepLimits:
    """A sweep's limits.

    Attributes:
        now: When it began, in seconds since the Unix epoch, by this machine's clock, or the database's if that is far behind.
        grace: Seconds; younger objects may still get their row.
        full: List everything.
        full_every: Seconds after which everything is listed anyway.
        resume: Continue an interrupted sweep.
        open_since: When the oldest open transaction that has written began; its rows cannot be seen yet.
    """

    now: float
    grace: float
    full: bool
    full_every: float
    resume: bool
    open_since: float = math.inf

    def until(self, least: float) -> float:
        """Return the time before which objects are judged.

        Args:
            least: Seconds that objects of the folder are kept at least.
        """
        until = self.now - max(self.grace, least)
        # it began, or was prepared, after its first object was stored
        return until if until < self.open_since else min(until, self.open_since - self.grace)


@dataclass(frozen=True, slots=True)
class Start:
    """Where the sweep of one folder begins, and how far it goes.

    Attributes:
        after: Only paths greater than this.
        until: Only objects older than this, in seconds since the Unix epoch.
        low: The time up to which everything is judged once the sweep is complete; earlier than ``until`` if something is left.
        full: It began at the first path.
        full_at: The time of the last complete full sweep; 0 for none.
    """

    after: str
    until: float
    low: float
    full: bool
    full_at: float

    def interrupted(self, after: str, low: float, judged: float | None) -> dict[str, Any]:
        """Return the state to remember after a part of the folder."""
        run = {"after": after, "until": self.until, "low": low, "full": self.full}
        before = {} if judged is None else {"until": judged}
        return {**before, "full_at": self.full_at, "run": run}

    def finished(self, low: float, now: float) -> dict[str, Any]:
        """Return the state to remember after the whole folder."""
        return {"until": low, "full_at": now if self.full else self.full_at}


def begin(folder: Folder, known: Mapping[str, Any] | None, limits: SweepLimits) -> Start:
    """Decide where to begin in a folder, from the state of the last sweep.

    A state from a fast clock is ignored, and an interrupted sweep continues with the present grace period.
    """
    known = known or {}
    run = known.get("run")
    full_at = float(known.get("full_at", 0))
    until = limits.until(folder.least)
    if run is not None and limits.resume and (run["full"] or not limits.full):
        return Start(run["after"], min(run["until"], until), min(run["low"], until), run["full"], full_at)
    is_lost = "until" not in known or max(known["until"], full_at) > limits.now + CLOCKS
    if limits.full or is_lost or limits.now - full_at >= limits.full_every:
        return Start("", until, until, full=True, full_at=full_at)
    return Start(path_before(folder.path, known["until"]), until, until, full=False, full_at=full_at)


@dataclass(frozen=True, slots=True)
class Tour:
    """One way through the variants of a backend.

    A variant may appear at any time, of an object of any age, so nothing but a look at all of them finds one whose original is
    gone.

    Attributes:
        after: Only paths greater than this.
        since: When it began.
        until: Only variants older than this.
        before: When the last complete one began; 0 for none.
    """

    after: str
    since: float
    until: float
    before: float

    def interrupted(self, after: str) -> dict[str, Any]:
        """Return the state to remember after a part of the variants."""
        return {"since": self.before, "run": {"after": after, "since": self.since}}

    def finished(self, *, complete: bool) -> dict[str, Any]:
        """Return the state to remember at its end."""
        return {"since": self.since if complete else self.before}


def begin_tour(known: Mapping[str, Any] | None, limits: SweepLimits, every: float) -> Tour | None:
    """Decide where to begin among the variants; ``None`` if it is too early.

    Args:
        known: The state of the last sweep.
        limits: This one's.
        every: Seconds from the beginning of a complete tour to the next.
    """
    before, run = float((known or {}).get("since", 0)), (known or {}).get("run")
    until = limits.now - limits.grace
    if run is not None and limits.resume:
        return Tour(run["after"], run["since"], until, before)
    is_due = not 0 <= limits.now + CLOCKS - before < every + CLOCKS
    return Tour("", limits.now, until, before) if limits.full or is_due else None


def old_variants(variants: Iterable[StoredVariant], until: float) -> list[StoredVariant]:
    """Return those that are old by the store, or by their original's name."""
    return [one for one in variants if _moment_of(one) <= until]


def _moment_of(one: StoredVariant) -> float:
    if one.info.last_modified is not None:
        return one.info.last_modified
    moment = time_in(one.original)
    return math.inf if moment is None else moment


@dataclass(slots=True)
class Old:
    """The part of a page to judge.

    Attributes:
        paths: Paths that are old enough.
        low: The earliest time of a path whose object is nevertheless too young: a slow upload, or a replaced object.
        young: Number of objects that are too young.
        reached: True if a path was generated too late to be judged; all later ones were too.
    """

    low: float
    paths: Found = field(default_factory=dict)
    young: int = 0
    reached: bool = False


def old_ones(folder: Folder, page: Iterable[ObjectInfo], until: float, low: float) -> Old:
    """Select objects of ours that are old by their path and by the store."""
    found = Old(low)
    for info in page:
        moment = folder.generated_at(info.path)
        if moment is None:
            continue
        if moment > until:
            found.reached = True
            found.young += 1
        elif info.last_modified is not None and info.last_modified > until:
            found.low = min(found.low, moment)
            found.young += 1
        else:
            found.paths[info.path] = (moment, info.size)
    return found


@dataclass(slots=True)
class Count:
    """The progress of a sweep.

    Attributes:
        listed: Number of objects listed.
        judged: Number of objects looked up.
        orphans: Number of objects that no row names.
        changed: Number of objects and uploads removed.
        would_change: Number of objects and uploads that a run which deletes would remove.
        young: Number of objects and uploads that are too young.
    """

    listed: int = 0
    judged: int = 0
    orphans: int = 0
    changed: int = 0
    would_change: int = 0
    young: int = 0


def too_many(*counts: Count) -> bool:
    """Return True if so much has no row that the database is probably the wrong one."""
    return any(count.orphans > SUSPICIOUS and count.orphans * 2 > count.judged for count in counts)
