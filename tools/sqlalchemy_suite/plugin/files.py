"""A column more in every table: a file, or plain JSON as the control."""

from __future__ import annotations

import random
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from sqlalchemy import JSON, Column, MetaData, Table, event
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import Mapper, Session
from sqlalchemy.orm.attributes import instance_state
from sqlalchemy.orm.session import close_all_sessions
from sqlalchemy.testing import assertsql
from sqlalchemy.testing.assertions import AssertsCompiledSQL
from sqlalchemy.testing.fixtures import TablesTest

import filerow
from tools.sqlalchemy_suite.plugin.audit import Audit
from tools.sqlalchemy_suite.plugin.causes import Causes
from tools.sqlalchemy_suite.plugin.listeners import ensure_filerow_listens, ensure_listening
from tools.sqlalchemy_suite.plugin.saboteur import Saboteur
from tools.sqlalchemy_suite.plugin.tables import PREFIX, Tables
from tools.sqlalchemy_suite.plugin.treatment import Treatment
from tools.sqlalchemy_suite.results import Finding

BACKEND: Final = "suite"


class ExtraColumn(Treatment, ABC):
    """Adds a column to every table with a primary key, and gives its attribute values.

    New objects get one; every second changed object gets another one in ``before_flush``.

    Attributes:
        given: How many values this test has been given.
    """

    def __init__(self) -> None:
        self._random = random.Random(0)
        self.given = 0
        # Kept, for SQLAlchemy knows listeners weakly, and a method is another object each time it is asked for.
        self._init_listener, self._flush_listener = self._on_init, self._on_flush
        event.listen(Table, "after_parent_attach", self._attached)
        # The column changes statements, and a test that fails early goes no further.
        for kind, name in ((assertsql.SQLAsserter, "assert_"), (AssertsCompiledSQL, "assert_compile")):
            setattr(kind, name, _hold)

    @abstractmethod
    def column_type(self) -> Any:
        """Return the type of the column."""

    @abstractmethod
    def value(self, number: int) -> Any:
        """Return a value that no other row has."""

    def begin(self, test: str) -> None:
        """Listen, and choose the same for a test whatever ran before it."""
        self._random.seed(zlib.crc32(test.encode()))
        self.given = 0
        ensure_listening(Mapper, "init", self._init_listener)
        ensure_listening(Session, "before_flush", self._flush_listener, insert=True)

    def _attached(self, table: Table, metadata: object) -> None:
        if not isinstance(metadata, MetaData) or not table.name or not table.primary_key.columns:
            return
        name = PREFIX + str(table.name)
        if name not in table.columns:
            table.append_column(Column(name, self.column_type()))
        elif type(table.columns[name].type) is not type(self.column_type()):  # reflected
            table.append_column(Column(name, self.column_type()), replace_existing=True)

    def _on_init(self, target: Any, args: object, kwargs: dict[str, Any]) -> None:
        mapper = getattr(type(target), "__mapper__", None)
        if not isinstance(mapper, Mapper):
            return
        if not mapper.configured:
            mapper.registry.configure(cascade=True)  # SQLAlchemy's own listener comes after ours
        for key in _attributes(mapper):
            if key not in target.__dict__ and not kwargs.get(key):
                setattr(target, key, self._next())

    def _on_flush(self, session: Session, context: object, instances: object) -> None:
        changed = sorted(filter(session.is_modified, session.dirty), key=_place)
        for instance in changed:
            for key in _attributes(type(instance).__mapper__):
                if self._random.random() < 0.5:
                    setattr(instance, key, self._next())

    def _next(self) -> Any:
        self.given += 1
        return self.value(self.given)


def _hold(*given: object, **more: object) -> None:
    """An assertion that always holds."""


def _place(instance: object) -> str:
    return repr(instance_state(instance).key)


def _attributes(mapper: Mapper[Any]) -> Iterator[str]:
    """Yield the attributes of the columns that we have added; configures nothing."""
    for key, column in mapper.columns.items():
        if str(getattr(column, "name", "")).startswith(PREFIX):
            yield key


class PlainColumn(ExtraColumn):
    """The control: a JSON column, and nothing of Filerow."""

    def column_type(self) -> Any:
        """Return the type that a file has in the database."""
        return JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")

    def value(self, number: int) -> Any:
        """Return a document."""
        return {"number": number}


class FileColumn(ExtraColumn):
    """A file column in every table; after each test rows and objects are compared.

    Args:
        sabotage: "orphan", "dangling" or "shared" breaks Filerow so that each test finds it.
    """

    def __init__(self, sabotage: str = "") -> None:
        super().__init__()
        self._backend = Saboteur(BACKEND, sabotage)
        filerow.storages.register_backend(self._backend)
        self._tables = Tables()
        self._causes = Causes(self._tables)
        self._audit = Audit(self._backend, self._tables, self._causes)
        self._sabotage = sabotage
        self._is_over = False
        self._findings: Sequence[Finding] | None = None
        event.listen(MetaData, "before_drop", self._before_drop)
        _call_before(TablesTest, "_teardown_each_tables", self._compare)

    def column_type(self) -> Any:
        """Return a file's type."""
        return filerow.StoredObject(BACKEND)

    def value(self, number: int) -> Any:
        """Return a new file."""
        return filerow.FileObject(filename=f"{number}.bin", content=b"file %d" % number)

    def begin(self, test: str) -> None:
        """Listen, Filerow too."""
        super().begin(test)
        ensure_filerow_listens()
        if self._sabotage == "shared":
            ensure_listening(Session, "before_commit", self._tables.share)
        self._causes.begin()
        self._is_over, self._findings = False, None

    def end_body(self, *, cleans_up: bool) -> None:
        """From now on, whatever deletes rows, tables or databases is not the test's."""
        self._is_over = True
        if cleans_up:
            self._compare()

    def finish(self) -> Iterable[Finding]:
        """Compare unless the suite has deleted rows, and forget what has no row any more."""
        self._compare()
        self._audit.forget()
        return self._findings or ()

    def _before_drop(self, target: MetaData, connection: object, **given: object) -> None:
        self._compare()

    def _compare(self) -> None:
        """Compare once, when the test is over and its rows are still there."""
        if not self._is_over or self._findings is not None:
            return
        self._findings = ()  # closing sessions may come back here
        self._causes.end()
        ensure_filerow_listens()
        close_all_sessions()
        self._findings = self._audit.compare() if self.given or self._audit.is_needed() else ()


def _call_before(owner: Any, name: str, call: Any) -> None:
    original = getattr(owner, name)

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        call()
        return original(*args, **kwargs)

    setattr(owner, name, wrapper)
