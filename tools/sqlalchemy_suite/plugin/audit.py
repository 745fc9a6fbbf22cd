"""Rows against objects."""

from __future__ import annotations

import gc
from collections import defaultdict
from collections.abc import Iterator, Sequence

from sqlalchemy.orm import Session

from tools.sqlalchemy_suite.plugin.causes import Causes
from tools.sqlalchemy_suite.plugin.saboteur import Saboteur
from tools.sqlalchemy_suite.plugin.tables import Named, Tables
from tools.sqlalchemy_suite.results import Finding

SHOWN = 2
"""Objects that a finding names."""


class Audit:
    """Compares what rows name with what a backend holds."""

    def __init__(self, backend: Saboteur, tables: Tables, causes: Causes) -> None:
        self._backend = backend
        self._tables = tables
        self._causes = causes
        self._known: set[Finding] = set()

    def is_needed(self) -> bool:
        """Return True if a test that gives no file could still make rows and objects disagree."""
        return bool(self._objects())

    def compare(self) -> Sequence[Finding]:
        """Return what disagrees now and did not before."""
        try:
            findings = list(self._findings())
            if any(finding.kind == "orphan" for finding in findings):
                gc.collect()  # sessions and connections that nobody closed
                with Session() as session:  # whoever ends a transaction next deletes what these had stored
                    session.begin()
                findings = list(self._findings())
        except Exception as error:  # noqa: BLE001 - whatever a database or driver raises
            return [Finding("unread", repr(error)[:300])]
        new = [finding for finding in findings if finding not in self._known]
        self._known.update(findings)
        return new

    def forget(self) -> None:
        """Remove objects without a row, so that each is found once."""
        if self._objects():
            try:
                named = {one.path for one in self._named()}
            except Exception:  # noqa: BLE001 - said by compare()
                named = set()
            self._backend.forget(sorted(set(self._objects()) - named))

    def _objects(self) -> dict[str, int]:
        return {info.path: info.size or 0 for info in self._backend.list()}

    def _named(self) -> list[Named]:
        return self._tables.read()

    def _findings(self) -> Iterator[Finding]:
        objects, by_path = self._objects(), defaultdict[str, list[Named]](list)
        for one in self._named():
            by_path[one.path].append(one)
        for path, rows in by_path.items():
            where = ", ".join(sorted(row.place.table for row in rows))
            if path not in objects:
                yield Finding("dangling", f"{path} in {where}")
            elif len(rows) > 1:
                yield Finding("shared", f"{path} in {where}")
            elif objects[path] != rows[0].size:
                yield Finding("wrong", f"{path} in {where}")
        orphans = defaultdict[str, list[str]](list)
        for path in sorted(set(objects) - set(by_path)):
            orphans[self._causes.of(path)].append(path)
        for cause, paths in orphans.items():
            yield Finding("orphan", f"{len(paths)}: {', '.join(paths[:SHOWN])}", cause)
