"""Whatever may hide rows from maintenance makes it refuse, on each connection that it asks (P13)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import JSON, Column, Engine, Integer, MetaData, Select, Table, create_engine, event, insert, text
from sqlalchemy.pool import NullPool

from filerow import StoredObject, storages
from filerow.backends.memory import MemoryBackend
from filerow.exceptions import MaintenanceRefusedError
from filerow.maintenance import sweep
from tests.databases import NAMES, EmptyDatabase

LIVE = [f"paper/file/01900000000070008000000000{n:06d}.png" for n in range(4)]
ORPHAN = "paper/file/0190000000007000800000000000000b.png"


def models() -> MetaData:
    metadata = MetaData()
    Table("paper", metadata, Column("id", Integer, primary_key=True), Column("file", StoredObject("docs")))
    Table("note", metadata, Column("id", Integer, primary_key=True), Column("file", StoredObject("docs")))
    return metadata


PAPER = Table("paper", MetaData(), Column("id", Integer, primary_key=True), Column("file", JSON(none_as_null=True)))


def document(path: str) -> dict[str, Any]:
    return {"v": 1, "backend": "docs", "path": path, "filename": "cat.png"}


@pytest.fixture
def engine(database: EmptyDatabase) -> Engine:
    """Four papers with files."""
    engine = database.engine()
    models().create_all(engine)
    with engine.begin() as connection:
        connection.execute(insert(PAPER), [{"file": document(path)} for path in LIVE])
    return engine


@pytest.fixture
def docs() -> Iterator[MemoryBackend]:
    storages.clear_backends()
    backend = MemoryBackend("docs")
    storages.register_backend(backend)
    for path in (*LIVE, ORPHAN):
        backend.put(path, b"x")
    yield backend
    storages.clear_backends()


def left(docs: MemoryBackend) -> set[str]:
    return {info.path for info in docs.list()}


def swept(engine: Engine, docs: MemoryBackend, metadata: MetaData | None = None) -> set[str]:
    list(sweep(metadata or models(), engine, delete=True, full=True, grace=timedelta(0), allow_many=True))
    return left(docs)


def statements(engine: Engine, *sql: str) -> None:
    with engine.begin() as connection:
        for one in sql:
            connection.execute(text(one))


# -- what stands before a table, or is a part of it ------------------------------------------------------------------------


@pytest.mark.parametrize("database", ["sqlite", "postgresql"], indirect=True)
def test_a_temporary_table_before_the_real_one_refuses(database: EmptyDatabase, engine: Engine, docs: MemoryBackend) -> None:
    def shadow(connection: Any, _record: object) -> None:
        cursor = connection.cursor()
        cursor.execute("CREATE TEMPORARY TABLE paper (id integer, file json)")
        connection.commit()

    other = database.engine()
    event.listen(other, "connect", shadow)
    with pytest.raises(MaintenanceRefusedError, match=r"'paper': .*temporary ones"):
        swept(other, docs)
    assert left(docs) == {*LIVE, ORPHAN}


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_view_is_known_in_any_case(engine: Engine, docs: MemoryBackend) -> None:
    statements(engine, "ALTER TABLE paper RENAME TO real_paper", "CREATE VIEW Paper AS SELECT * FROM real_paper WHERE id < 0")
    with pytest.raises(MaintenanceRefusedError, match="'paper': views"):
        swept(engine, docs)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_view_in_an_attached_database_refuses(database: EmptyDatabase, engine: Engine, docs: MemoryBackend) -> None:
    with create_engine(f"sqlite:///{database.file}.other", poolclass=NullPool).begin() as connection:
        connection.exec_driver_sql("CREATE TABLE real_paper (id integer, file json)")
        connection.exec_driver_sql("CREATE VIEW paper AS SELECT * FROM real_paper WHERE id < 0")
    other = database.engine()
    event.listen(other, "connect", lambda connection, _: connection.execute(f"ATTACH '{database.file}.other' AS shop"))
    metadata = models()
    Table("paper", metadata, Column("id", Integer, primary_key=True), Column("file", StoredObject("docs")), schema="shop")
    with pytest.raises(MaintenanceRefusedError, match=r"'shop\.paper': views"):
        swept(other, docs, metadata)


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_a_partition_on_another_server_refuses(engine: Engine, docs: MemoryBackend) -> None:
    statements(
        engine,
        "DROP TABLE note",
        "CREATE TABLE note (id integer NOT NULL, file jsonb) PARTITION BY RANGE (id)",
        "CREATE FOREIGN DATA WRAPPER nowhere",
        "CREATE SERVER elsewhere FOREIGN DATA WRAPPER nowhere",
        "CREATE FOREIGN TABLE note_1 PARTITION OF note FOR VALUES FROM (0) TO (1000) SERVER elsewhere",
    )
    with pytest.raises(MaintenanceRefusedError, match="'note': views and foreign tables"):
        swept(engine, docs)
    assert left(docs) == {*LIVE, ORPHAN}


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_rows_of_an_inheriting_table_are_seen_and_not_refused(engine: Engine, docs: MemoryBackend) -> None:
    statements(
        engine,
        "CREATE TABLE letter () INHERITS (paper)",
        "INSERT INTO letter (id, file) SELECT id + 100, file FROM paper",
        "DELETE FROM ONLY paper",
    )
    assert swept(engine, docs) == set(LIVE)


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_a_table_without_any_index_is_being_restored(engine: Engine, docs: MemoryBackend) -> None:
    """As ``pg_restore --clean`` leaves it until all tables have their rows; the marks of places may be there by then."""
    statements(engine, "DROP TABLE paper", "CREATE TABLE paper (id integer NOT NULL, file jsonb)")
    with pytest.raises(MaintenanceRefusedError, match=r"'paper': no index .* restored"):
        swept(engine, docs)
    assert left(docs) == {*LIVE, ORPHAN}
    statements(engine, "ALTER TABLE paper ADD PRIMARY KEY (id)")
    assert swept(engine, docs) == set()


# -- what a connection or its server leaves out ----------------------------------------------------------------------------


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
@pytest.mark.parametrize("asked_before", range(4))
@pytest.mark.one_in(2)
def test_each_connection_must_lead_to_the_primary(
    database: EmptyDatabase, engine: Engine, docs: MemoryBackend, asked_before: int
) -> None:
    """A balancer leads each connection to another server, so that it is not enough to ask the first one."""
    statements(
        engine,
        "CREATE SCHEMA lag",
        "CREATE FUNCTION lag.pg_is_in_recovery() RETURNS boolean LANGUAGE sql AS 'SELECT true'",
        "CREATE TABLE lag.paper (LIKE public.paper)",
    )
    balanced = create_engine(database.url, poolclass=NullPool)
    made: list[Any] = []

    def connected(connection: Any, _record: object) -> None:
        made.append(connection)
        if len(made) > asked_before:
            connection.execute("SET search_path = lag, public, pg_catalog")
            connection.commit()

    event.listen(balanced, "connect", connected)
    with pytest.raises(MaintenanceRefusedError, match="standby"):
        swept(balanced, docs)
    assert left(docs) == {*LIVE, ORPHAN}


@pytest.mark.parametrize("database", ["mariadb"], indirect=True)
def test_a_limit_of_the_server_refuses(database: EmptyDatabase, engine: Engine, docs: MemoryBackend) -> None:
    limited = create_engine(database.url, connect_args={"init_command": "SET sql_select_limit = 2"})
    with pytest.raises(MaintenanceRefusedError, match="sql_select_limit"):
        swept(limited, docs)
    assert left(docs) == {*LIVE, ORPHAN}
    assert swept(engine, docs) == set(LIVE)
    limited.dispose()


# -- listeners that rewrite statements -------------------------------------------------------------------------------------


def adds_a_condition_to_sql(engine: Engine) -> None:
    def rewrite(_c: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: bool) -> tuple[str, Any]:
        return statement.replace("FROM paper \nWHERE", "FROM paper \nWHERE paper.id < 0 AND"), parameters

    event.listen(engine, "before_cursor_execute", rewrite, retval=True)


def adds_a_condition_to_a_select(engine: Engine) -> None:
    def rewrite(_connection: Any, clause: Any, many: Any, parameters: Any, _options: Any) -> tuple[Any, Any, Any]:
        is_asked = isinstance(clause, Select) and "FROM paper" in str(clause)
        return (clause.where(text("paper.id < 0")) if is_asked else clause), many, parameters

    event.listen(engine, "before_execute", rewrite, retval=True)


def says_who_asks(engine: Engine) -> None:
    """As tracing does, and with another spelling of a table."""

    def rewrite(_c: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: bool) -> tuple[str, Any]:
        spelt = statement.replace(" paper.", ' main."paper".')
        return f"/* route: 'cron' */ {spelt} -- of a night", parameters

    event.listen(engine, "before_cursor_execute", rewrite, retval=True)


@pytest.mark.parametrize("listen", [adds_a_condition_to_sql, adds_a_condition_to_a_select])
def test_listeners_that_add_conditions_refuse(
    database: EmptyDatabase, engine: Engine, docs: MemoryBackend, listen: Callable[[Engine], None]
) -> None:
    filtering = database.engine()
    listen(filtering)
    with pytest.raises(MaintenanceRefusedError, match="without that listener: SELECT"):
        swept(filtering, docs)
    assert left(docs) == {*LIVE, ORPHAN}


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_listeners_that_add_comments_are_well(database: EmptyDatabase, engine: Engine, docs: MemoryBackend) -> None:
    traced = database.engine()
    says_who_asks(traced)
    assert swept(traced, docs) == set(LIVE)


# -- one moment ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_file_that_moves_between_two_questions_is_seen(database: EmptyDatabase, docs: MemoryBackend) -> None:
    """By an engine as an application makes it, whose driver begins no transaction for a SELECT."""
    engine, writer = create_engine(database.url), create_engine(database.url)
    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA journal_mode=WAL")
    models().create_all(engine)
    with engine.begin() as connection:
        connection.execute(insert(PAPER), [{"file": document(LIVE[0])}])
    moves: list[str] = []

    def move(home: str, new: str) -> Callable[..., None]:
        def listener(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
            if "FROM note" in statement and " IN (" in statement:  # papers are asked next
                statements(writer, f"INSERT INTO {new} (file) SELECT file FROM {home}", f"DELETE FROM {home}")
                moves.append(new)

        return listener

    event.listen(engine, "before_cursor_execute", move("note", "paper"))
    event.listen(engine, "after_cursor_execute", move("paper", "note"))
    assert LIVE[0] in swept(engine, docs)
    assert moves
    engine.dispose()
    writer.dispose()


# -- documents where no model looks ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("database", NAMES, indirect=True)
def test_an_archive_that_begins_with_empty_rows_refuses(engine: Engine, docs: MemoryBackend) -> None:
    archive = Table("archive", MetaData(), Column("id", Integer, primary_key=True), Column("scan", JSON(none_as_null=True)))
    archive.create(engine)
    with engine.begin() as connection:
        connection.execute(insert(archive), [{"scan": None}] * 500 + [{"scan": document(path)} for path in LIVE])
    statements(engine, "DELETE FROM paper")
    with pytest.raises(MaintenanceRefusedError, match=r"archive\.scan"):
        swept(engine, docs)
    assert left(docs) == {*LIVE, ORPHAN}
