"""The batches of adopt and migrate: retried if rows change, and reported."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Engine

from filerow._orm.references import FileColumn
from filerow.maintenance._report import Finding, Progress
from filerow.maintenance._rows import Row, count, row_name, rows
from filerow.outbox._census import Census

_ROUNDS = 3
"""How often to try a row that the application changes while its files are looked up or copied."""


class Batches(ABC):
    """One run over the rows of a column.

    Args:
        census: The databases whose rows may name the objects.
        engine: Where the rows are.
        column: The column.
        command: The name of the work, for advice.
        attempt: What is tried with a row's files, for a finding: ``copy its files``.
    """

    def __init__(self, census: Census, engine: Engine, column: FileColumn, command: str, attempt: str) -> None:
        self._census = census
        self._engine = engine
        self._column = column
        self._command = command
        self._attempt = attempt
        self._changed = 0
        self._would_change = 0
        self._bytes = 0
        self._findings: list[Finding] = []

    def run(
        self, batch: int, resume: str | None, where: ColumnElement[bool] | None, text: ColumnElement[Any] | None = None
    ) -> Iterator[Progress]:
        """Work through the rows, and yield the progress after each batch.

        Args:
            batch: Rows taken at a time.
            resume: The cursor to begin after.
            where: Only rows that match this.
            text: Read this other column instead.
        """
        self._census.check_shows_all()
        total = None if resume is not None and where is None else count(self._engine, self._column, where, text)
        done = 0
        cursor = resume
        for page in rows(self._engine, self._column, batch=batch, resume=resume, where=where, instead=text):
            try:
                self._page(page.rows)
            except Exception as error:
                message = f"{self._column.name}: a batch failed and was undone: {error}"
                advice = "run it again once that works; it continues from here"
                self._findings.append(Finding("stopped", message, "error", self._column.name, advice=advice))
                yield self._progress(done, total, cursor)
                raise
            done += len(page.rows)
            cursor = page.cursor
            yield self._progress(done, total, cursor)

    def _page(self, found: Sequence[Row]) -> None:
        for _ in range(_ROUNDS):
            found = self._round(found)
            if not found:
                return
        for row in found:
            where = row_name(self._column, row.key)
            message = f"{where} was changed during each attempt to {self._attempt}"
            self._findings.append(Finding("changed-meanwhile", message, "warning", where, advice=f"run {self._command} again"))

    @abstractmethod
    def _round(self, found: Sequence[Row]) -> list[Row]:
        """Do the work on some rows; return those that changed, in their new state."""

    def _progress(self, done: int, total: int | None, cursor: str | None) -> Progress:
        findings, self._findings = tuple(self._findings), []
        figures = (done, total, self._bytes, self._changed, self._would_change)
        return Progress(self._column.name, *figures, findings=findings, cursor=cursor)
