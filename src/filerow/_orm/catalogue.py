"""Read what a database does by itself when a row is written.

Its catalogue lists triggers, rules and views. A trigger may keep a row that was to be deleted,
restore what it held, or copy that to another row: of an archive, of the same table, of a table that
is joined to it. So where a flush or a bulk statement releases an object, the catalogue is queried
for all tables that have file columns, and for those that share rows with them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import IntEnum
from typing import Any, Final, NamedTuple

from sqlalchemy import Column, Connection, ForeignKey, MetaData, Table, bindparam, text
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from filerow._orm.fields import holds_files, mapped_classes
from filerow._orm.schemas import full_name, schema_of


class Rewrites(IntEnum):
    """What a database may do by itself when a row of a table is written.

    A higher value means a greater risk.
    """

    NOTHING = 0
    """It does only what the statement says."""
    KEEPS = 1
    """A trigger may keep or restore the row; it writes no other row."""
    COPIES = 2
    """A trigger or a rule may copy what the row held to another one."""
    LATE = 3
    """A deferred trigger may copy it.

    It runs when the transaction commits, and nothing can be read afterwards.
    """
    THROUGH_VIEW = 4
    """It is a view, and triggers or rules decide what happens to its rows."""
    HIDDEN = 5
    """Policies hide rows of file columns from this user.

    A trigger, a rule or a listener may have written such rows.
    """


class Action(NamedTuple):
    """A trigger, a rule or a view.

    Attributes:
        kind: ``trigger``, ``instead`` (of a statement on a view), ``rule`` or ``view``.
        late: It may run when the transaction commits.
        body: What it does, in SQL; ``None`` where that is unknown.
    """

    kind: str
    late: bool
    body: str | None


Actions = Mapping[str, Sequence[Action]]
"""Actions by the table's name; see :func:`_label`."""

_UNKNOWN: Final[Actions] = {}
"""Stands for a catalogue that could not be read: anything may happen."""


class Catalogue:
    """What the databases of a flush may do to its tables' rows by themselves.

    Each database is asked once.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[Connection, MetaData], Actions] = {}

    def rewrites(self, connection: Connection, table: Table) -> Rewrites:
        """Return what a database may do when a row of a table is written.

        It includes the row's parts in other tables.
        """
        known = self._of(connection, table.metadata)
        return max(_verdict(known, connection, one) for one in tables_of_rows(table))

    def copies(self, connection: Connection, metadata: MetaData) -> bool:
        """Return True if a trigger or a rule of any table may copy rows.

        Then what a row holds may be in another row too.
        """
        known = self._of(connection, metadata)
        return any(_verdict(known, connection, table) > Rewrites.KEEPS for table in _concerned(metadata))

    def note_inactive(self, connection: Connection, metadata: MetaData) -> None:
        """Note that a database does nothing by itself.

        See :func:`action_count_sql`.
        """
        self._known[connection, metadata] = {}

    def note_unknown(self, connection: Connection, metadata: MetaData) -> None:
        """Note that it is unknown what a database does.

        The application may rewrite statements, for example.
        """
        self._known[connection, metadata] = _UNKNOWN

    def _of(self, connection: Connection, metadata: MetaData) -> Actions:
        found = self._known.get((connection, metadata))
        if found is None:
            found = self._known[connection, metadata] = _query(connection, _concerned(metadata))
        return found


def _verdict(known: Actions, connection: Connection, table: Table) -> Rewrites:
    if known is _UNKNOWN:
        return Rewrites.COPIES
    actions = known.get(_label(connection, table))
    if not actions:
        return Rewrites.NOTHING
    kinds = {one.kind for one in actions}
    if "instead" in kinds or ("view" in kinds and len(kinds) > 1):
        return Rewrites.THROUGH_VIEW
    writing = [one for one in actions if one.kind != "view" and _may_write(one.body)]
    if any(one.late for one in writing):
        return Rewrites.LATE
    return Rewrites.COPIES if writing else Rewrites.KEEPS


_IN_QUOTES = re.compile(r"'(?:[^']|'')*'|--[^\n]*|/\*.*?\*/", re.DOTALL)
_WRITING = re.compile(r"\b(?:insert|replace|update|merge|copy|load|execute|perform|call|select|do)\b", re.IGNORECASE)
_CALL = re.compile(r"([^\s(),;:=<>|+*/-]+)\s*\(")
_HARMLESS = re.compile(
    # what stands before a parenthesis and calls nothing
    r"(?:if|elsif|elseif|when|then|else|case|and|or|not|in|any|all|from|is|like|return|set|values|on|as|by|using|row|array|cast"
    r"|char|character|varchar|numeric|decimal|float|bit|time|timestamp"
    # the database's own functions that only compute
    r"|(?:pg_catalog\.)?(?:now|sysdate|curdate|(?:current|local|utc|clock|statement|transaction|to|unix)_?timestamp|from_unixtime"
    r"|date|year|month|day|date_trunc|date_format|extract|age|to_char|to_date|coalesce|ifnull|nullif|greatest|least"
    r"|abs|ceil|floor|round|mod|random|rand|lower|upper|[blr]?trim|(?:char_|octet_|array_|json_|jsonb_array_)?length|cardinality"
    r"|substr(?:ing)?|left|right|strpos|position|format|concat|concat_ws|md5|sha1|sha2|sha256|encode|decode|digest"
    r"|uuid|gen_random_uuid|uuid_generate_v4|nextval|currval|to_jsonb?|row_to_json|jsonb?_build_object|jsonb_set|jsonb_strip_nulls"
    r"|json_(?:extract|value|unquote|object|set)|hstore|to_tsvector|setweight|unaccent"
    r"|(?:current_|session_)?user|current_setting|pg_trigger_depth|txid_current))",
    re.IGNORECASE,
)
_ASKING_SQLITE = re.compile(r"\bselect\b|\(", re.IGNORECASE)


def _may_write(body: str | None) -> bool:
    """Return False if an action only reads or changes the row at hand.

    A trigger that sets ``updated_at`` is such an action. A function that it calls may do anything,
    unless it is one of the database's own.
    """
    if body is None:
        return True
    text = _IN_QUOTES.sub(" ", body)
    return _WRITING.search(text) is not None or not all(map(_HARMLESS.fullmatch, _CALL.findall(text)))


# -- which tables ----------------------------------------------------------------------------------------------------------

_KNOWN = "filerow_tables"
"""The key of the :class:`_Tables` of a ``MetaData`` in its ``info``."""


class _Tables(NamedTuple):
    """What is known of the tables of a ``MetaData``.

    Attributes:
        when: How many tables and mapped classes there were; a class adds columns to its parent's
            table.
        joined: The tables that share rows with others, each with all of them.
        concerned: Those that have file columns, and those that share rows with them.
    """

    when: tuple[int, int]
    joined: Mapping[Table, Sequence[Table]]
    concerned: Sequence[Table]


def _tables(metadata: MetaData) -> _Tables:
    when = len(metadata.tables), mapped_classes()
    found: _Tables | None = metadata.info.get(_KNOWN)
    if found is None or found.when != when:
        joined = _joined(metadata)
        own = filter(holds_files, metadata.tables.values())
        concerned = dict.fromkeys(one for table in own for one in joined.get(table, (table,)))
        found = metadata.info[_KNOWN] = _Tables(when, joined, tuple(concerned))
    return found


def _concerned(metadata: MetaData) -> Sequence[Table]:
    """Return the tables with file columns, and those that share their rows."""
    return _tables(metadata).concerned


def tables_of_rows(table: Table) -> Sequence[Table]:
    """Return a table and those that hold other parts of its rows.

    They do in joined inheritance: the key of one refers to the key of the other.
    """
    return _tables(table.metadata).joined.get(table, (table,))


def _joined(metadata: MetaData) -> dict[Table, Sequence[Table]]:
    """Return the tables that share rows with others, each with all of them.

    The table itself comes first.
    """
    pairs = {(one, other) for one in metadata.tables.values() for other in _parents(one)}
    near: dict[Table, dict[Table, None]] = {}
    for one, other in pairs:
        near.setdefault(one, {})[other] = None
        near.setdefault(other, {})[one] = None
    groups: dict[Table, Sequence[Table]] = {}
    for table in near:
        found, waiting = {table: None}, [table]
        while waiting:
            new = [one for one in near[waiting.pop()] if one not in found]
            found.update(dict.fromkeys(new))
            waiting += new
        groups[table] = tuple(found)
    return groups


def _parents(table: Table) -> set[Table]:
    """Return the tables whose primary key a table's primary key refers to.

    Both keys must be used whole.
    """
    targets: dict[Table, set[Any]] = {}
    for column in table.primary_key.columns:
        for key in column.foreign_keys:
            target = _target(key)
            if target is not None and target.table is not table:
                targets.setdefault(target.table, set()).add(target)
    size = len(table.primary_key.columns)
    return {one for one, columns in targets.items() if len(columns) == size == len(one.primary_key.columns)}


def _target(key: ForeignKey) -> Column[Any] | None:
    try:
        target = key.column
    except SQLAlchemyError:  # the table that it refers to is not in this MetaData
        return None
    return target if isinstance(target.table, Table) else None


# -- the queries -----------------------------------------------------------------------------------------------------------


def _query(connection: Connection, tables: Sequence[Table]) -> Actions:
    """Query the catalogue of a database for some tables."""
    dialect = connection.dialect.name
    if not tables:
        return {}
    try:
        if dialect == "postgresql":
            return _grouped(_of_postgresql(connection, tables))
        if dialect == "sqlite":
            return _grouped(_of_sqlite(connection, tables))
        if dialect in {"mysql", "mariadb"}:
            return _grouped(_of_mysql(connection, tables))
    except OperationalError:  # an application that rewrites statements may use other names for its tables
        return _UNKNOWN
    return {}


def _grouped(found: Iterable[tuple[str, Action]]) -> Actions:
    groups: dict[str, list[Action]] = {}
    for name, action in found:
        groups.setdefault(name, []).append(action)
    return groups


def _label(connection: Connection, table: Table) -> str:
    """Return the name that the catalogue's results use for a table.

    It is the whole name on PostgreSQL. Elsewhere it is the name alone in lower case, because case
    does not matter there.
    """
    return full_name(connection, table) if connection.dialect.name == "postgresql" else table.name.lower()


_POSTGRESQL = text(
    "WITH RECURSIVE part(name, oid) AS ("
    "SELECT name, CAST(to_regclass(name) AS oid) FROM unnest(CAST(:names AS text[])) AS name "
    "UNION SELECT part.name, more.oid FROM part CROSS JOIN LATERAL ("
    "SELECT inhrelid AS oid FROM pg_inherits WHERE inhparent = part.oid "
    "UNION ALL SELECT d.refobjid FROM pg_rewrite r JOIN pg_depend d ON d.classid = CAST('pg_rewrite' AS regclass) "
    "AND d.objid = r.oid AND d.refclassid = CAST('pg_class' AS regclass) AND d.refobjid <> r.ev_class "
    "WHERE r.ev_class = part.oid AND r.ev_type = '1') AS more) "
    "SELECT part.name, 'view' AS kind, false AS late, '' AS body FROM part JOIN pg_class c ON c.oid = part.oid "
    "WHERE c.relkind = 'v' "
    "UNION ALL SELECT part.name, 'rule', false, NULL FROM part JOIN pg_rewrite r ON r.ev_class = part.oid WHERE r.ev_type <> '1' "
    "UNION ALL SELECT part.name, CASE WHEN t.tgtype & 64 <> 0 THEN 'instead' ELSE 'trigger' END, t.tgdeferrable, "
    "CASE l.lanname WHEN 'internal' THEN '' WHEN 'plpgsql' THEN p.prosrc END "
    "FROM part JOIN pg_trigger t ON t.tgrelid = part.oid JOIN pg_proc p ON p.oid = t.tgfoid "
    "JOIN pg_language l ON l.oid = p.prolang "
    "WHERE NOT t.tgisinternal AND t.tgenabled <> 'D' AND t.tgname NOT LIKE 'filerow%'"
)
"""Asks for triggers, rules and views of tables and of their parts.

Partitions, children that inherit, and what a view reads count as parts of a table. ``'1'`` is the
rule by which a view shows rows; 64 stands for INSTEAD OF.
"""


def _of_postgresql(connection: Connection, tables: Iterable[Table]) -> Iterator[tuple[str, Action]]:
    names = [full_name(connection, table) for table in tables]
    for name, kind, late, body in connection.execute(_POSTGRESQL, {"names": names}).all():
        yield name, Action(kind, late, body)


_MYSQL = text(
    "SELECT event_object_table, action_statement FROM information_schema.triggers "
    "WHERE event_object_schema IN :schemas AND event_object_table IN :tables AND trigger_name NOT LIKE 'filerow%' "
    "UNION ALL SELECT table_name, NULL FROM information_schema.views WHERE table_schema IN :schemas AND table_name IN :tables"
).bindparams(bindparam("schemas", expanding=True), bindparam("tables", expanding=True))


def _of_mysql(connection: Connection, tables: Iterable[Table]) -> Iterator[tuple[str, Action]]:
    schemas = {schema_of(connection, table) for table in tables}
    current = connection.scalar(text("SELECT database()")) if None in schemas else None
    values = {"schemas": sorted({one or current or "" for one in schemas}), "tables": [table.name for table in tables]}
    for name, body in connection.execute(_MYSQL, values).all():
        yield name.lower(), Action("trigger" if body is not None else "rule", late=False, body=body)


def action_count_sql(connection: Connection, metadata: MetaData) -> str | None:
    """Return a SELECT's column that is 0 if SQLite does nothing by itself.

    It is selected along with the rows, because one more statement would double the time where each
    goes to another thread and back (aiosqlite). It is ``None`` for other databases, where the
    answer may change before the transaction ends.
    """
    if connection.dialect.name != "sqlite":
        return None
    return f"(SELECT count(*) FROM ({_sqlite_question(connection, _concerned(metadata))}))"  # noqa: S608 - names in quotes


def _sqlite_question(connection: Connection, tables: Sequence[Table]) -> str:
    words = connection.dialect.identifier_preparer
    schemas: dict[str | None, list[str]] = {}
    for table in tables:
        schemas.setdefault(schema_of(connection, table), []).append("'" + table.name.replace("'", "''") + "'")
    parts = []
    for schema, quoted in schemas.items():
        names = ", ".join(quoted)
        where = (
            f"WHERE (type = 'trigger' AND tbl_name COLLATE NOCASE IN ({names}) AND name NOT LIKE 'filerow%') "
            f"OR (type = 'view' AND name COLLATE NOCASE IN ({names}))"
        )
        sources = (f"{words.quote_identifier(schema)}.sqlite_master" if schema else "sqlite_master", "sqlite_temp_master")
        parts += [f"SELECT lower(tbl_name) AS of_table, type, sql FROM {source} {where}" for source in sources]  # noqa: S608
    return " UNION ALL ".join(parts)


def _of_sqlite(connection: Connection, tables: Sequence[Table]) -> Iterator[tuple[str, Action]]:
    found = text(_sqlite_question(connection, tables).replace(":", "\\:"))
    for name, kind, sql in connection.execute(found).all():
        if kind == "view":  # a view without a trigger cannot be written
            yield name, Action("instead", late=False, body=None)
        else:  # its SELECTs and calls change nothing, because SQLite has no functions that write
            body = re.split(r"\bBEGIN\b", _IN_QUOTES.sub(" ", sql), maxsplit=1, flags=re.IGNORECASE)[-1]
            yield name, Action("trigger", late=False, body=_ASKING_SQLITE.sub(" ", body))
