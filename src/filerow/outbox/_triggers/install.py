"""Makes and drops the triggers and indexes of all tables with file columns, and says what is missing.

A trigger's name carries a hash of its SQL. So names alone tell what is there, what is out of date, and what is ours at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from sqlalchemy import DDL, Connection, MetaData, Table
from sqlalchemy.engine import Dialect

from filerow._log import named
from filerow._orm.column import StoredObject
from filerow._orm.fields import outbox_in
from filerow._orm.references import quoted
from filerow._orm.schemas import schema_of
from filerow.exceptions import MaintenanceRefusedError
from filerow.outbox._triggers import mysql, postgresql, sqlite
from filerow.outbox._triggers.spec import FileTable, Part, kind_of, prefix, spec_in, spec_of

__all__ = (
    "Existing",
    "Problem",
    "TriggerProblem",
    "as_ddl",
    "changes",
    "check_knows_all",
    "compare",
    "create_all",
    "drop_all",
    "existing",
    "has_triggers",
    "parts",
    "run",
    "translated",
    "trigger_state",
    "wanted_by",
)

Problem = Literal["missing", "outdated", "superfluous", "index missing"]


class TriggerProblem(NamedTuple):
    """One thing that is not as it should be with a table's triggers.

    Attributes:
        table: The table, with its schema before it where it names one.
        problem: ``missing``: no trigger for some event; ``outdated``: made for other columns or by another release;
            ``superfluous``: the table has no file column that it is for; ``index missing``: a check before a deletion reads all
            rows.
    """

    table: str
    problem: Problem


@dataclass(frozen=True, slots=True)
class Existing:
    """The triggers and indexes of ours that a table has in the database.

    Attributes:
        names: Their names.
        spec: What its triggers were made from, if they tell.
    """

    names: frozenset[str]
    spec: FileTable | None


Key = tuple[str | None, str]


def has_triggers(dialect: Dialect, table: Table | FileTable) -> bool:
    """Say whether a table's tombstones are written by triggers; the unit of work writes them where they are not."""
    return dialect.name in {"postgresql", "mysql", "mariadb"} or (dialect.name == "sqlite" and table.schema is None)


def parts(spec: FileTable, dialect: Dialect) -> list[Part]:
    """Return the triggers and indexes that a table shall have."""
    if dialect.name == "postgresql":
        return list(postgresql.parts(spec, dialect))
    return list(sqlite.parts(spec, dialect) if dialect.name == "sqlite" else mysql.parts(spec, dialect))


def existing(connection: Connection, schemas: Iterable[str | None] = ()) -> dict[Key, Existing]:
    """Return what there is of ours, by schema and table; under the schema ``None`` what is found without naming one.

    Args:
        connection: Where.
        schemas: Schemas to look into; only MySQL and MariaDB need to know.
    """
    names: dict[Key, set[str]] = {}
    specs: dict[Key, FileTable] = {}
    for schema, table, visible, name, source in _rows(connection, [schema for schema in schemas if schema]):
        if kind_of(name) is None:
            continue
        for key in ((schema, table), (None, table)) if visible else ((schema, table),):
            names.setdefault(key, set()).add(name)
            spec = spec_in(source, key[0], table)
            if spec is not None:
                specs[key] = spec
    return {key: Existing(frozenset(found), specs.get(key)) for key, found in names.items()}


def _rows(connection: Connection, schemas: Sequence[str]) -> Iterator[tuple[str, str, bool, str, str]]:
    if connection.dialect.name == "postgresql":
        return postgresql.existing(connection)
    return sqlite.existing(connection) if connection.dialect.name == "sqlite" else mysql.existing(connection, schemas)


# -- create and drop -------------------------------------------------------------------------------------------------------


def create_all(connection: Connection, outbox: Table, tables: Iterable[Table]) -> None:
    """Make the triggers and indexes of these tables that are missing, and drop what is out of date or superfluous.

    Args:
        connection: Where.
        outbox: The table of tombstones.
        tables: Tables with and without file columns.
    """
    wanted = wanted_by(connection, outbox, tables)
    if any(wanted.values()):
        outbox.create(connection, checkfirst=True)  # without it, no row with a file could be deleted
    found = existing(connection, [schema for schema, _ in wanted]) if wanted else {}
    _make_room(connection, wanted, found)
    for key, spec in wanted.items():
        run(connection, changes(spec, found.get(key), connection.dialect, key))


def _make_room(connection: Connection, wanted: Mapping[Key, FileTable | None], found: Mapping[Key, Existing]) -> None:
    """Give the triggers of a table that was renamed names of their own, where another one is called now as it was."""
    dialect = connection.dialect
    names = {part.name for spec in wanted.values() if spec is not None for part in parts(spec, dialect)}
    for key, others in found.items():
        is_beside = key not in wanted and any(key[0] == schema for schema, _ in wanted)
        if is_beside and others.spec is not None and names & others.names:
            run(connection, changes(others.spec, others, dialect, key))


def drop_all(connection: Connection, outbox: Table, tables: Iterable[Table]) -> None:
    """Drop the triggers of these tables; of all tables, when the outbox itself is to be dropped."""
    doomed = list(tables)
    wanted = wanted_by(connection, outbox, outbox.metadata.tables.values() if outbox in doomed else doomed)
    found = existing(connection, [schema for schema, _ in wanted]) if wanted else {}
    for key in wanted:
        run(connection, changes(None, found.get(key), connection.dialect, key))


def changes(spec: FileTable | None, found: Existing | None, dialect: Dialect, key: Key) -> list[str]:
    """Return the statements that give a table what it shall have: nothing, without a ``spec``."""
    names: frozenset[str] = frozenset() if found is None else found.names
    wanted = [] if spec is None else parts(spec, dialect)
    statements = [sql for name in sorted(names - {part.name for part in wanted}) for sql in _drop_named(name, dialect, key)]
    for part in wanted:
        statements += part.create if part.name not in names else ()
    return statements


def _drop_named(name: str, dialect: Dialect, key: Key) -> Iterator[str]:
    schema, safe = prefix(dialect, None if dialect.name == "sqlite" else key[0]), quoted(dialect, name)
    if kind_of(name) == "index":
        yield f"DROP INDEX IF EXISTS {schema}{safe}"
    elif dialect.name == "postgresql":
        yield f"DROP TRIGGER IF EXISTS {safe} ON {schema}{quoted(dialect, key[1])}"
        yield f"DROP FUNCTION IF EXISTS {schema}{safe}()"
    else:
        yield f"DROP TRIGGER IF EXISTS {schema}{safe}"


def run(connection: Connection, statements: Iterable[str]) -> None:
    """Run SQL as it is, whatever it contains."""
    for sql in statements:
        connection.execute(as_ddl(sql))


def as_ddl(sql: str) -> DDL:
    """Return SQL as an element to execute, so that nothing in it is taken for a parameter."""
    return DDL(sql.replace("%", "%%"))  # type: ignore[no-untyped-call]


def check_knows_all(connection: Connection, metadata: MetaData, models: Iterable[MetaData]) -> None:
    """See to it that no table has files which this release does not know: one that is archived, renamed, or of a later release.

    Args:
        connection: The database.
        metadata: Its models.
        models: These and all others whose files are known.

    Raises:
        MaintenanceRefusedError: A table or column has triggers of ours and is not in the ``MetaData``.
    """
    if connection.dialect.name not in {"postgresql", "mysql", "mariadb", "sqlite"}:
        return
    outbox = outbox_in(metadata)
    known = {
        (schema_of(connection, table), table.name): {
            column.name for column in table.columns if isinstance(column.type, StoredObject)
        }
        for one in models
        for table in one.tables.values()
    }
    strange: list[str] = []
    for (schema, table), found in existing(connection, {schema for schema, _ in known if schema}).items():
        if found.spec is None or (outbox is not None and found.spec.outbox != outbox.table.name):
            continue
        if schema is None or any(schema == other for other, _ in known):
            columns = known.get((schema, table), known.get((None, table), set()) if schema is None else set())
            strange += [f"{found.spec.fullname}.{name}" for name in found.spec.columns if name not in columns]
    if strange:
        msg = (
            f"{named(sorted(set(strange)))}: the database has files in columns that these models do not know (archived, renamed, "
            "or of a later release), so nothing was deleted; add them to the models, name the models that have them with also=, "
            "or drop their triggers if they are over"
        )
        raise MaintenanceRefusedError(msg)


# -- what is missing -------------------------------------------------------------------------------------------------------


def trigger_state(connection: Connection, metadata: MetaData) -> list[TriggerProblem]:
    """Return what is wrong with the triggers and indexes of the tables of a ``MetaData``; nothing for one without an outbox.

    Args:
        connection: Where.
        metadata: The models' ``MetaData``.
    """
    outbox = outbox_in(metadata)
    wanted = {} if outbox is None else wanted_by(connection, outbox.table, metadata.tables.values())
    found = existing(connection, [schema for schema, _ in wanted]) if wanted else {}
    problems: list[TriggerProblem] = []
    for key in sorted(wanted, key=str):
        names = found[key].names if key in found else frozenset[str]()
        fullname = key[1] if key[0] is None else f"{key[0]}.{key[1]}"
        problems += [TriggerProblem(fullname, problem) for problem in compare(wanted[key], names, connection.dialect)]
    return problems


def compare(spec: FileTable | None, names: frozenset[str], dialect: Dialect) -> list[Problem]:
    """Return what is wrong with a table's triggers and indexes, each problem once."""
    problems: dict[Problem, None] = {}
    wanted = [] if spec is None else parts(spec, dialect)
    others = {kind_of(name) for name in names - {part.name for part in wanted}}
    for part in wanted:
        if part.name not in names:
            problem: Problem = "outdated" if part.kind in others else "missing"
            problems["index missing" if part.kind == "index" else problem] = None
    if others - {"index"} - {part.kind for part in wanted}:
        problems["superfluous"] = None
    return list(problems)


def translated(connection: Connection) -> Mapping[str | None, str | None]:
    """Return the connection's ``schema_translate_map``: the schemas that stand for those of the models."""
    given: Mapping[str | None, str | None] | None = connection.get_execution_options().get("schema_translate_map")
    return given or {}


def wanted_by(connection: Connection, outbox: Table, tables: Iterable[Table]) -> dict[Key, FileTable | None]:
    """Return what each table's triggers are made from, by schema and name; only tables that can have triggers."""
    schemas = translated(connection)
    return {
        (schemas.get(table.schema, table.schema), table.name): spec_of(table, outbox, connection.dialect, schemas)
        for table in tables
        if has_triggers(connection.dialect, table)
    }
