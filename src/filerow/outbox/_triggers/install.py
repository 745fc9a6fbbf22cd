"""Makes, drops and compares the triggers and indexes of all file columns.

A trigger's name contains a hash of its SQL, so names alone show what exists, what is outdated, and what is ours.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Literal, NamedTuple

from sqlalchemy import DDL, Connection, MetaData, Table, TextClause, text
from sqlalchemy.engine import Dialect

from filerow._log import named
from filerow._orm.column import StoredObject
from filerow._orm.fields import outbox_in
from filerow._orm.references import quoted
from filerow._orm.schemas import schema_of
from filerow.exceptions import MaintenanceRefusedError
from filerow.outbox._release import renamed
from filerow.outbox._triggers import mysql, postgresql, sqlite
from filerow.outbox._triggers.flaws import Flaw, Flaws, flaws_of
from filerow.outbox._triggers.spec import (
    CURRENT_VERSION,
    PATTERN,
    Existing,
    FileTable,
    Key,
    Part,
    existing_in,
    kind_of,
    prefix,
    spec_of,
)

Problem = Literal["missing", "outdated", "superfluous", "index missing", "broken", "newer", "unknown"]


class TriggerProblem(NamedTuple):
    """One thing that is not as it should be with a table's triggers.

    Attributes:
        table: The table, with its schema before it where it names one.
        problem: ``missing``: no trigger for some event; ``outdated``: made for other columns or by another release;
            ``superfluous``: the table has no file column that it is for; ``index missing``: a check before a deletion reads all
            rows; ``broken``: it makes writes fail; ``newer``: a later release of Filerow made it; ``unknown``: it notes files of
            columns that are there and that the models do not know.
        message: More about this one, if there is more to say.
    """

    table: str
    problem: Problem
    message: str = ""


def has_triggers(dialect: Dialect, table: Table | FileTable) -> bool:
    """Return True if triggers write a table's tombstones, not the unit of work."""
    return dialect.name in {"postgresql", "mysql", "mariadb"} or (dialect.name == "sqlite" and table.schema is None)


_DIALECTS = {"postgresql": postgresql, "sqlite": sqlite, "mysql": mysql, "mariadb": mysql}


def parts(spec: FileTable, dialect: Dialect) -> list[Part]:
    """Return the triggers and indexes that a table should have."""
    return list(_DIALECTS[dialect.name].parts(spec, dialect))


def existing(connection: Connection, schemas: Iterable[str | None] = ()) -> dict[Key, Existing]:
    """Return existing triggers and indexes by table; schema ``None`` if visible.

    Args:
        connection: Where.
        schemas: Schemas to look into; only MySQL and MariaDB need to know.
    """
    query: TextClause = _DIALECTS[connection.dialect.name].EXISTING
    given = {"schemas": [schema for schema in schemas if schema]} if ":schemas" in query.text else {}
    sources: dict[Key, dict[str, str]] = {}
    for schema, table, visible, name, source in connection.execute(query, {"ours": PATTERN, **given}):
        if kind_of(name) is None:
            continue
        for key in ((schema, table), (None, table)) if visible else ((schema, table),):
            sources.setdefault(key, {})[name] = source
    return {key: existing_in(found, *key) for key, found in sources.items()}


# -- create and drop -------------------------------------------------------------------------------------------------------


def create_all(connection: Connection, outbox: Table, tables: Iterable[Table]) -> None:
    """Make missing triggers and indexes; drop outdated and superfluous ones."""
    tables = list(tables)
    wanted = wanted_by(connection, outbox, tables)
    if any(wanted.values()):
        outbox.create(connection, checkfirst=True)  # without it, no row with a file could be deleted
    found = existing(connection, [schema for schema, _ in wanted]) if wanted else {}
    for key, beside in found.items():
        if key not in wanted and any(key[0] == schema for schema, _ in wanted):
            _remake(connection, outbox, beside, _own_names(wanted, key, beside, connection.dialect))
    wrong = flaws_of(connection, {key: found[key] for key in wanted.keys() & found.keys()})
    modelled = _modelled(connection, tables)
    for key, spec in wanted.items():
        there = found.get(key)
        if there is None or there.version <= CURRENT_VERSION:  # those of a later release do what it needs, and ours as well
            wide = _widened(connection, spec, there, modelled[key], key)
            _remake(connection, outbox, there, changes(wide, there, connection.dialect, key, wrong.get(key, ())))


def _remake(connection: Connection, outbox: Table, there: Existing | None, statements: Sequence[str]) -> None:
    """Make triggers again, and rename the table in tombstones if it was renamed."""
    run(connection, statements)
    spec = None if there is None else there.spec
    if (
        there is not None
        and spec is not None
        and statements
        and spec.outbox == outbox.name
        and there.made_for not in {None, spec.name}
    ):
        renamed(connection, spec, replace(spec, name=str(there.made_for)).fullname)


def _own_names(wanted: Mapping[Key, FileTable | None], key: Key, there: Existing, dialect: Dialect) -> list[str]:
    """Return SQL that renames the triggers of a renamed table if names collide."""
    names = {part.name for spec in wanted.values() if spec is not None for part in parts(spec, dialect)}
    return changes(there.spec, there, dialect, key) if there.spec is not None and names & there.names else []


def room_for(connection: Connection, spec: FileTable, found: Mapping[Key, Existing]) -> list[str]:
    """Return SQL that renames other tables' triggers that have this one's name."""
    key = (spec.schema, spec.name)
    others = ((other, there) for other, there in found.items() if other != key and other[0] == key[0])
    return [sql for other, there in others for sql in _own_names({key: spec}, other, there, connection.dialect)]


def _modelled(connection: Connection, tables: Iterable[Table]) -> dict[Key, set[str]]:
    """Return the names of all columns that the models know, by table."""
    return {(schema_of(connection, table), table.name): {column.name for column in table.columns} for table in tables}


def _widened(
    connection: Connection, spec: FileTable | None, there: Existing | None, modelled: set[str], key: Key
) -> FileTable | None:
    """Return a table's specification with the columns of a newer release.

    During a rolling deploy the models of an older release must not make triggers that pass over a newer one's files.
    """
    strange = {} if there is None or there.spec is None else {n: m for n, m in there.spec.columns.items() if n not in modelled}
    if there is None or there.spec is None or not strange.keys() & columns_of(connection, key):
        return spec
    kept = {name: multiple for name, multiple in strange.items() if name in columns_of(connection, key)}
    if spec is None:
        return replace(there.spec, columns=kept)
    wanted = {**kept, **spec.columns}
    in_order = {name: wanted[name] for name in there.spec.columns if name in wanted}  # so that nothing changes if nothing must
    return replace(spec, columns=in_order | wanted)


_COLUMNS = {
    "postgresql": "SELECT attname FROM pg_attribute WHERE attrelid = to_regclass(:quoted) AND attnum > 0 AND NOT attisdropped",
    "sqlite": "SELECT name FROM pragma_table_info(:name)",
    "mysql": "SELECT column_name FROM information_schema.columns "
    "WHERE table_schema = coalesce(:schema, database()) AND table_name = :name",
}
_COLUMNS["mariadb"] = _COLUMNS["mysql"]


def columns_of(connection: Connection, key: Key) -> set[str]:
    """Return the names of the columns that a table has in the database."""
    schema, name = key
    full = prefix(connection.dialect, schema) + quoted(connection.dialect, name)
    given = {"schema": schema, "name": name, "quoted": full}
    statement = text(_COLUMNS[connection.dialect.name])
    return set(connection.scalars(statement, {one: given[one] for one in given if f":{one}" in statement.text}))


def drop_all(connection: Connection, outbox: Table, tables: Iterable[Table]) -> None:
    """Drop the triggers of these tables; of all if the outbox is dropped."""
    doomed = list(tables)
    wanted = wanted_by(connection, outbox, outbox.metadata.tables.values() if outbox in doomed else doomed)
    found = existing(connection, [schema for schema, _ in wanted]) if wanted else {}
    for key in wanted:
        run(connection, changes(None, found.get(key), connection.dialect, key))


def changes(spec: FileTable | None, found: Existing | None, dialect: Dialect, key: Key, flawed: Iterable[str] = ()) -> list[str]:
    """Return SQL that gives a table what it needs: nothing without a ``spec``.

    Args:
        spec: What its triggers are to be made from.
        found: What it has.
        dialect: The database's.
        key: The table.
        flawed: Names of triggers to make again, though they are there.
    """
    names: frozenset[str] = frozenset() if found is None else found.names
    wanted = [] if spec is None else parts(spec, dialect)
    good = names & {part.name for part in wanted} - set(flawed)
    statements = [sql for name in sorted(names - good) for sql in drop_named(name, dialect, key)]
    for part in wanted:
        statements += part.create if part.name not in good else ()
    return statements


def drop_named(name: str, dialect: Dialect, key: Key) -> Iterator[str]:
    """Yield the statements that drop a trigger or an index of a table if it is there."""
    schema, safe = prefix(dialect, None if dialect.name == "sqlite" else key[0]), quoted(dialect, name)
    if kind_of(name) == "index":
        yield f"DROP INDEX IF EXISTS {schema}{safe}"
    elif dialect.name == "postgresql":
        yield f"DROP TRIGGER IF EXISTS {safe} ON {schema}{quoted(dialect, key[1])}"
        yield postgresql.drop_function(f"{schema}{safe}")
    else:
        yield f"DROP TRIGGER IF EXISTS {schema}{safe}"


def run(connection: Connection, statements: Iterable[str]) -> None:
    """Run SQL as it is."""
    for sql in statements:
        connection.execute(as_ddl(sql))


def as_ddl(sql: str) -> DDL:
    """Return SQL as an element to execute, without parameters."""
    return DDL(sql.replace("%", "%%"))  # type: ignore[no-untyped-call]


def check_knows_all(connection: Connection, metadata: MetaData, models: Iterable[MetaData]) -> None:
    """Check that no table has files in columns unknown to this release.

    Raises:
        MaintenanceRefusedError: A table or column has triggers of ours and is not in the ``MetaData``.
    """
    if connection.dialect.name not in _DIALECTS:
        return
    outbox = outbox_in(metadata)
    known: dict[Key, set[str]] = {}
    for table in (table for one in models for table in one.tables.values()):
        columns = {column.name for column in table.columns if isinstance(column.type, StoredObject)}
        known.setdefault((schema_of(connection, table), table.name), set()).update(columns)
    strange: list[str] = []
    for (schema, name), found in existing(connection, {schema for schema, _ in known if schema}).items():
        if found.spec is None or (outbox is not None and found.spec.outbox != outbox.table.name):
            continue
        if schema is None or any(schema == other for other, _ in known):
            columns = known.get((schema, name), known.get((None, name), set()) if schema is None else set())
            strange += [f"{found.spec.fullname}.{column}" for column in found.spec.columns if column not in columns]
    if strange:
        raise MaintenanceRefusedError(
            f"{named(sorted(set(strange)))}: the database has files in columns that these models do not know (archived, renamed, "
            "or of a later release), so nothing was deleted; add them to the models, name the models that have them with also=, "
            "or drop their triggers if they are over"
        )


# -- what is missing -------------------------------------------------------------------------------------------------------


def trigger_state(connection: Connection, metadata: MetaData) -> list[TriggerProblem]:
    """Return what is wrong with the triggers and indexes of the models' tables."""
    outbox = outbox_in(metadata)
    if outbox is None:
        return []
    wanted = wanted_by(connection, outbox.table, metadata.tables.values())
    found = existing(connection, [schema for schema, _ in wanted]) if wanted else {}
    wrong = flaws_of(connection, found)
    modelled = _modelled(connection, metadata.tables.values())
    problems: list[TriggerProblem] = []
    for key in sorted(wanted, key=str):
        there = found.get(key, Existing(frozenset(), None))
        if there.version > CURRENT_VERSION:
            problems.append(TriggerProblem(_fullname(key), "newer"))
            problems += _flawed(key, wrong)
            continue
        wide = _widened(connection, wanted[key], there, modelled[key], key)
        strange = sorted(set(wide.columns if wide else ()) - modelled[key])
        problems += [TriggerProblem(_fullname(key), "unknown", named(strange))] if strange else []
        flawed = _flawed(key, wrong)
        others = compare(wide, there.names, connection.dialect)
        problems += [*flawed, *(TriggerProblem(_fullname(key), one) for one in others if not (flawed and one == "outdated"))]
    for key, there in sorted(found.items(), key=str):
        if there.spec is not None and there.spec.outbox == outbox.table.name and _is_beside(key, wanted, found):
            problems.append(TriggerProblem(_fullname(key), "unknown", named(sorted(there.spec.columns))))
            problems += _flawed(key, wrong)
    return problems


def _is_beside(key: Key, wanted: Mapping[Key, object], found: Mapping[Key, Existing]) -> bool:
    """Return True for a table in the models' schemas that is not a model's."""
    if key in wanted or not (key[0] is None or any(key[0] == schema for schema, _ in wanted)):
        return False
    return not any(key[1] == name and found.get((schema, name)) for schema, name in wanted)


def _flawed(key: Key, wrong: Flaws) -> list[TriggerProblem]:
    flaws: dict[Flaw, None] = dict.fromkeys(wrong.get(key, {}).values())
    return [TriggerProblem(_fullname(key), flaw.problem, flaw.message) for flaw in flaws]


def _fullname(key: Key) -> str:
    return key[1] if key[0] is None else f"{key[0]}.{key[1]}"


def compare(spec: FileTable | None, names: frozenset[str], dialect: Dialect) -> list[Problem]:
    """Return what is wrong with a table's triggers and indexes, each problem once."""
    problems: dict[Problem, None] = {}
    wanted = [] if spec is None else parts(spec, dialect)
    others = {kind_of(name) for name in names - {part.name for part in wanted}}
    for part in wanted:
        if part.name not in names:
            problem: Problem = "outdated" if part.kind in others else "missing"
            problems["index missing" if part.kind == "index" else problem] = None
    beside = others - {"index"}
    if beside - {part.kind for part in wanted} or (beside and "outdated" not in problems):
        problems["superfluous"] = None
    return list(problems)


def translated(connection: Connection) -> Mapping[str | None, str | None]:
    """Return the connection's ``schema_translate_map``."""
    given: Mapping[str | None, str | None] | None = connection.get_execution_options().get("schema_translate_map")
    return given or {}


def wanted_by(connection: Connection, outbox: Table, tables: Iterable[Table]) -> dict[Key, FileTable | None]:
    """Return the specifications of all tables that can have triggers."""
    schemas = translated(connection)
    return {
        (schemas.get(table.schema, table.schema), table.name): spec_of(table, outbox, connection.dialect, schemas)
        for table in tables
        if has_triggers(connection.dialect, table)
    }
