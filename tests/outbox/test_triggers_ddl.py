"""``create_all`` makes the triggers and indexes, ``drop_all`` removes them, and their names show what is there."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import (
    JSON,
    Column,
    Connection,
    Engine,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    column,
    delete,
    event,
    insert,
    inspect,
    select,
    table,
    text,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.schema import CreateTable

from filerow import StoredObject, storages
from filerow.backends.memory import MemoryBackend
from filerow.outbox import Drained, Outbox
from tests.databases import EmptyDatabase
from tests.outbox.catalogue import names_by_table, state
from tests.outbox.tables import doc

pytestmark = pytest.mark.one_in(3)


@pytest.fixture(autouse=True)
def docs() -> Iterator[MemoryBackend]:
    storages.clear_backends()
    backend = MemoryBackend("docs")
    storages.register_backend(backend)
    yield backend
    storages.clear_backends()


def models(*, outbox_first: bool = True, **columns: Any) -> tuple[MetaData, Outbox]:
    """Return tables, one with file columns and one without."""
    metadata = MetaData()
    outbox = Outbox(metadata) if outbox_first else None
    kinds = columns or {"file": False, "pages": True}
    files = [Column(name, StoredObject("docs", multiple=multiple)) for name, multiple in kinds.items()]
    Table("paper", metadata, Column("id", Integer, primary_key=True), *files)
    Table("author", metadata, Column("id", Integer, primary_key=True))
    return metadata, outbox or Outbox(metadata)


def names(engine: Engine) -> set[str]:
    """Return the names of all triggers and indexes of ours."""
    return set().union(*names_by_table(engine).values())


def put(connection: Connection, name: str, **values: Any) -> None:
    """Insert a row whose documents are plain JSON."""
    kinds = {key: JSON(none_as_null=True) if isinstance(value, dict | list) else None for key, value in values.items()}
    connection.execute(insert(table(name, *[column(key, kind) for key, kind in kinds.items()])).values(values))


def paths(engine: Engine, outbox: Outbox) -> list[str]:
    with engine.connect() as connection:
        return sorted(connection.scalars(select(outbox.table.c.path)))


def test_an_outbox_may_be_declared_after_the_tables(database: EmptyDatabase) -> None:
    engine, (metadata, outbox) = database.engine(), models(outbox_first=False)
    metadata.create_all(engine)
    with engine.begin() as connection:
        put(connection, "paper", id=1, file=doc("a"))
        connection.execute(text("DELETE FROM paper"))
    assert paths(engine, outbox) == ["a"]
    assert state(engine, metadata) == []


def test_second_create_all_changes_nothing_drop_all_drops_all(database: EmptyDatabase) -> None:
    engine, (metadata, _) = database.engine(), models()
    metadata.create_all(engine)
    before, statements = names(engine), []
    event.listen(engine, "before_cursor_execute", lambda *given: statements.append(given[2]))
    metadata.create_all(engine)
    assert not [sql for sql in statements if sql.startswith(("CREATE", "DROP"))]
    assert names(engine) == before
    assert len(before) == {"sqlite": 3 + 2, "postgresql": 4 + 4, "mariadb": 3}[database.name]
    metadata.drop_all(engine)
    assert names(engine) == set()
    assert inspect(engine).get_table_names() == []
    if database.name == "postgresql":
        with engine.connect() as connection:
            assert connection.scalar(text("SELECT count(*) FROM pg_proc WHERE proname LIKE 'filerow%'")) == 0


def test_an_outbox_comes_to_tables_that_are_there_already(database: EmptyDatabase) -> None:
    engine, (metadata, _) = database.engine(), models()
    with engine.begin() as connection:
        connection.execute(CreateTable(metadata.tables["paper"]))
    assert state(engine, metadata)[0] == ("paper", "missing")
    metadata.create_all(engine)
    assert state(engine, metadata) == []


def test_create_all_of_some_tables_makes_only_their_triggers(database: EmptyDatabase) -> None:
    engine, (metadata, outbox) = database.engine(), models()
    Table("second", metadata, Column("id", Integer, primary_key=True), Column("file", StoredObject("docs")))
    metadata.create_all(engine, tables=[metadata.tables["paper"]])
    metadata.create_all(engine, tables=[metadata.tables["author"]])
    with engine.begin() as connection:  # its outbox is there too, or this would fail
        put(connection, "paper", id=1, file=doc("a"))
        connection.execute(text("DELETE FROM paper"))
    assert paths(engine, outbox) == ["a"]
    assert {table for table, _ in state(engine, metadata)} == {"second"}


def test_dropping_the_outbox_drops_the_triggers_that_need_it(database: EmptyDatabase) -> None:
    engine, (metadata, outbox) = database.engine(), models()
    metadata.create_all(engine)
    metadata.drop_all(engine, tables=[outbox.table])
    with engine.begin() as connection:
        put(connection, "paper", id=1, file=doc("a"))
        connection.execute(text("DELETE FROM paper"))
    metadata.create_all(engine)
    assert state(engine, metadata) == []


def test_missing_outdated_or_extra_triggers_are_named_and_fixed(database: EmptyDatabase) -> None:
    engine, (old, _) = database.engine(), models(file=False)
    old.create_all(engine)
    (new, _), (none, _) = models(file=False, pages=True), models()
    with engine.begin() as connection:
        connection.execute(text(f"ALTER TABLE paper ADD COLUMN pages {'jsonb' if database.name == 'postgresql' else 'json'}"))
    assert ("paper", "outdated") in state(engine, new)
    none.remove(none.tables["paper"])
    Table("paper", none, Column("id", Integer, primary_key=True))
    assert state(engine, none) == [("paper", "unknown")]
    new.create_all(engine)
    assert state(engine, new) == []
    with engine.begin() as connection:
        made = names(engine)
        put(connection, "paper", id=1, file=doc("a"), pages=[doc("p")])
    old.create_all(engine)
    none.create_all(engine)
    assert names(engine) == made, "models of an older release leave alone what notes files that they do not know"
    assert state(engine, old) == [("paper", "unknown")]


def test_triggers_serve_two_releases_with_different_columns(database: EmptyDatabase) -> None:
    engine, (metadata, outbox), (other, _) = database.engine(), models(file=False), models(pages=True, file=False)
    (third, _) = models(cover=False, file=False)
    metadata.create_all(engine)
    kind = "jsonb" if database.name == "postgresql" else "json"
    with engine.begin() as connection:
        connection.execute(text(f"ALTER TABLE paper ADD COLUMN pages {kind}"))
        connection.execute(text(f"ALTER TABLE paper ADD COLUMN cover {kind}"))
    for release in (other, third, metadata, other):
        release.create_all(engine)
    with engine.begin() as connection:
        put(connection, "paper", id=1, file=doc("a"), pages=[doc("p")], cover=doc("c"))
        connection.execute(text("DELETE FROM paper"))
    assert paths(engine, outbox) == ["a", "c", "p"]


def test_triggers_of_a_later_release_are_left_as_they_are(database: EmptyDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, (metadata, _) = database.engine(), models()
    with monkeypatch.context() as later:
        later.setattr("filerow.outbox._triggers.spec.CURRENT_VERSION", 99)
        metadata.create_all(engine)
    made = names(engine)
    metadata.create_all(engine)
    assert names(engine) == made
    assert state(engine, metadata) == [("paper", "newer")]


def test_other_trigger_sql_has_another_version(database: EmptyDatabase) -> None:
    """If this fails, count ``CURRENT_VERSION`` in ``outbox/_triggers/spec.py`` up, and put the new names here."""
    engine, (metadata, _) = database.engine(), models()
    metadata.create_all(engine)
    made = hashlib.sha256(" ".join(sorted(names(engine))).encode()).hexdigest()[:10]
    assert made == {"sqlite": "6586db92c1", "postgresql": "acf63547a0", "mariadb": "8a4a7712a8"}[database.name]


# -- renames ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", ["RENAME COLUMN file TO scan", "RENAME COLUMN id TO number", "RENAME TO note"])
def test_rename_that_breaks_triggers_is_an_error_and_fixed(database: EmptyDatabase, change: str) -> None:
    engine, (metadata, _) = database.engine(), models(file=False)
    metadata.create_all(engine)
    with engine.begin() as connection:
        put(connection, "paper", id=1, file=doc("a"))
        connection.execute(text(f"ALTER TABLE paper {change}"))
    new = MetaData()
    renamed, number = Outbox(new), "number" if "number" in change else "id"
    name, file = "note" if "note" in change else "paper", "scan" if "scan" in change else "file"
    table_ = Table(name, new, Column(number, Integer, primary_key=True), Column(file, StoredObject("docs")))
    broken = {"sqlite": set[str](), "postgresql": {"broken"}, "mariadb": {"broken"} if "COLUMN" in change else set()}
    assert {problem for _, problem in state(engine, new)} & {"broken"} == broken[database.name]
    assert state(engine, new)
    new.create_all(engine)
    assert state(engine, new) == []
    with engine.begin() as connection:
        put(connection, name, **{number: 2, file: doc("b")})
        connection.execute(delete(table_).where(table_.c[number] == 1))
        connection.execute(text(f"TRUNCATE {name}" if database.name == "postgresql" else f"DELETE FROM {name}"))
        noted = connection.execute(select(renamed.table.c.path, renamed.table.c.table_name, renamed.table.c.column_name)).all()
    assert sorted(map(tuple, noted)) == [("a", name, file), ("b", name, file)]


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_renamed_schema_in_a_search_path_is_reported_and_fixed(database: EmptyDatabase) -> None:
    engine, (metadata, outbox) = database.engine(connect_args={"options": "-c search_path=app"}), models()
    with engine.begin() as connection:
        connection.execute(text("CREATE SCHEMA app"))
    metadata.create_all(engine)
    with engine.begin() as connection:
        put(connection, "paper", id=1, file=doc("a"))
        connection.execute(text("ALTER SCHEMA app RENAME TO shop"))
    after = database.engine(connect_args={"options": "-c search_path=shop"})
    assert state(after, metadata) == [("paper", "broken")]
    metadata.create_all(after)
    assert state(after, metadata) == []
    with after.begin() as connection:
        connection.execute(text("DELETE FROM paper"))
    assert paths(after, outbox) == ["a"]


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_triggers_that_write_into_another_schema_are_outdated(database: EmptyDatabase) -> None:
    engine, (metadata, outbox) = database.engine(connect_args={"options": "-c search_path=app"}), models()
    with engine.begin() as connection:
        connection.execute(text("CREATE SCHEMA app"))
    metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(text("ALTER SCHEMA app RENAME TO shop"))
        connection.execute(text("CREATE SCHEMA app"))
    metadata.create_all(engine)  # the next tenant, under the former one's name
    after = database.engine(connect_args={"options": "-c search_path=shop"})
    assert state(after, metadata) == [("paper", "outdated")]
    metadata.create_all(after)
    with after.begin() as connection:
        put(connection, "paper", id=1, file=doc("a"))
        connection.execute(text("DELETE FROM paper"))
    assert (paths(after, outbox), paths(engine, outbox)) == (["a"], [])


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_trigger_that_sqlite_cannot_prepare_is_an_error(database: EmptyDatabase) -> None:
    engine, (metadata, _) = database.engine(), models()
    metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(text("PRAGMA legacy_alter_table=ON"))
        connection.execute(text("ALTER TABLE paper RENAME COLUMN id TO number"))
        connection.execute(text("DROP TABLE filerow_outbox"))
    assert ("paper", "broken") in state(engine, metadata)


@pytest.mark.parametrize("database", ["postgresql", "sqlite"], indirect=True)
def test_missing_index_is_reported_and_fixed(database: EmptyDatabase) -> None:
    engine, (metadata, _) = database.engine(), models()
    metadata.create_all(engine)
    with engine.begin() as connection:
        for name in names(engine):
            if "_index_" in name:
                connection.execute(text(f'DROP INDEX "{name}"'))
    assert state(engine, metadata) == [("paper", "index missing")]
    metadata.create_all(engine)
    assert state(engine, metadata) == []


# -- names and types -------------------------------------------------------------------------------------------------------


def test_odd_names_and_keys_work(database: EmptyDatabase) -> None:
    engine, metadata = database.engine(), MetaData()
    outbox = Outbox(metadata, table_name="The outbox's 100%")
    key = LargeBinary().with_variant(mysql.BINARY(16), "mysql", "mariadb")
    name = '100% : Papers, the ones with a name that is long; its "author\'s" own '[:60].strip()
    Table(
        name, metadata, Column("the id", key, primary_key=True), Column("part", Integer, primary_key=True),
        Column("The 'File' % :x", StoredObject("docs")),
    )  # fmt: skip
    Table("keyless", metadata, Column("file", StoredObject("docs")))
    metadata.create_all(engine)
    assert state(engine, metadata) == []
    number = uuid.uuid4().bytes[:-1] + b"\xff"
    with engine.begin() as connection:
        put(connection, name, **{"the id": number, "part": 7, "The 'File' % :x": doc('it\'s \\ "Ä/雪"')})
        put(connection, "keyless", file=doc("b"))
        connection.execute(delete(metadata.tables[name]))
        connection.execute(delete(metadata.tables["keyless"]))
    columns = outbox.table.c
    with engine.connect() as connection:
        query = select(columns.table_name, columns.column_name, columns.path, columns.row_key).order_by(columns.id)
        rows = [tuple(row) for row in connection.execute(query)]
    shown = f"\\x{number.hex()}" if database.name == "postgresql" else number.hex()
    assert rows == [
        (name, "The 'File' % :x", 'it\'s \\ "Ä/雪"', {"the id": shown, "part": 7}),
        ("keyless", "file", "b", {}),
    ]
    metadata.drop_all(engine)


@pytest.mark.parametrize("database", ["postgresql", "mariadb"], indirect=True)
def test_a_table_with_a_schema_works(database: EmptyDatabase) -> None:
    schema = f"other_{uuid.uuid4().hex[:12]}"
    engine, metadata = database.engine(), MetaData()
    outbox = Outbox(metadata)
    paper = Table("paper", metadata, Column("id", Integer, primary_key=True), Column("file", StoredObject("docs")), schema=schema)
    with engine.begin() as connection:
        connection.execute(text(f"CREATE SCHEMA {schema}"))
    try:
        metadata.create_all(engine)
        with engine.begin() as connection:
            connection.execute(
                insert(table("paper", column("id"), column("file", JSON), schema=schema)).values(id=1, file=doc("a"))
            )
            connection.execute(delete(paper))
        assert paths(engine, outbox) == ["a"]
        assert state(engine, metadata) == []
        metadata.drop_all(engine)
    finally:
        with engine.begin() as connection:
            connection.execute(text(f"DROP SCHEMA {schema}"))


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_a_session_with_another_search_path_deletes_as_well(database: EmptyDatabase) -> None:
    engine, (metadata, outbox) = database.engine(), models()
    metadata.create_all(engine)
    with engine.begin() as connection:
        put(connection, "paper", id=1, file=doc("a"))
    with engine.begin() as connection:
        connection.execute(text("SET LOCAL search_path TO ''"))
        connection.execute(text("DELETE FROM public.paper"))
    assert paths(engine, outbox) == ["a"]


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_a_column_of_json_instead_of_jsonb_works(database: EmptyDatabase) -> None:
    engine, (metadata, outbox) = database.engine(), models()
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE paper (id int PRIMARY KEY, file json, pages json)"))
    metadata.create_all(engine)
    with engine.begin() as connection:
        put(connection, "paper", id=1, file=doc("a"), pages=[doc("p"), doc("q")])
        connection.execute(text("""UPDATE paper SET file = NULL, pages = json_build_array(pages -> 1)"""))
    assert paths(engine, outbox) == ["a", "p"]
    with engine.begin() as connection:
        connection.execute(text("TRUNCATE paper"))
    assert paths(engine, outbox) == ["a", "p", "q"]
    with engine.begin() as connection:
        put(connection, "paper", id=2, file=doc("a"), pages=[doc("q")])
        for path in ("a", "q"):
            connection.execute(insert(outbox.table).values(backend="docs", path=path, dropped_at=1.0))
    outbox.retention = timedelta(0)
    assert outbox.drain(engine) == Drained(deleted=1, taken_back=2), "the rows are asked in spite of their type"


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_each_tenant_of_a_schema_translate_map_has_its_own(database: EmptyDatabase) -> None:
    engine, (metadata, outbox) = database.engine(), models()
    tenant = engine.execution_options(schema_translate_map={None: "tenant"})
    with engine.begin() as connection:
        connection.execute(text("CREATE SCHEMA tenant"))
    metadata.create_all(tenant)
    assert state(tenant, metadata) == []
    with engine.begin() as connection:
        connection.execute(
            text("INSERT INTO tenant.paper (id, file) VALUES (1, :file)"),
            {"file": str(doc("a")).replace("'", '"').replace("None", "null")},
        )
        connection.execute(text("DELETE FROM tenant.paper"))
    assert paths(tenant, outbox) == ["a"]


# -- the check uses the indexes --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("database", ["postgresql", "sqlite"], indirect=True)
def test_the_check_before_a_deletion_finds_its_rows_by_index(database: EmptyDatabase) -> None:
    engine, (metadata, outbox) = database.engine(), models()
    metadata.create_all(engine)
    with engine.begin() as connection:
        for number in range(300):
            put(connection, "paper", id=number, file=doc(f"f{number}"), pages=[doc(f"p{number}")])
        for path in ("f7", "p8", "absent"):
            connection.execute(insert(outbox.table).values(backend="docs", path=path, dropped_at=1.0))
    asked: list[tuple[str, Any]] = []

    def note(conn: object, cursor: object, sql: str, parameters: Any, context: object, many: object) -> None:
        if sql.startswith("SELECT") and "FROM paper" in sql.replace('"', ""):
            asked.append((sql, parameters))

    event.listen(engine, "before_cursor_execute", note)
    assert outbox.drain(engine) == Drained(deleted=1, taken_back=2)
    event.remove(engine, "before_cursor_execute", note)
    with engine.begin() as connection:
        if database.name == "postgresql":
            connection.execute(text("ANALYZE paper"))
            connection.execute(text("SET LOCAL enable_seqscan = off"))  # 300 rows are few
        plans = []
        for sql, parameters in asked:
            explain = "EXPLAIN " if database.name == "postgresql" else "EXPLAIN QUERY PLAN "
            plans.append("\n".join(str(row) for row in connection.exec_driver_sql(explain + sql, parameters)))
    file, odd_files, pages, odd_pages = plans
    assert "filerow_" in file
    assert "filerow_" in odd_files
    assert "SCAN" not in file.replace("Index Scan", "").replace("Heap Scan", "").upper() or database.name == "postgresql"
    for plan in (pages, odd_pages):
        assert "filerow_" in plan if database.name == "postgresql" else "SCAN" in plan


def test_a_table_is_made_again_beside_its_renamed_self(database: EmptyDatabase) -> None:
    """What archives do: both tables note what leaves their rows, each under its own name."""
    engine, (metadata, outbox) = database.engine(), models()
    metadata.create_all(engine)
    with engine.begin() as connection:
        put(connection, "paper", id=1, file=doc("old"))
        connection.execute(text("ALTER TABLE paper RENAME TO paper_2025"))
    metadata.create_all(engine)
    metadata.create_all(engine)
    assert state(engine, metadata) == [("paper_2025", "unknown")]
    with engine.begin() as connection:
        put(connection, "paper", id=1, file=doc("new"))
        connection.execute(text("DELETE FROM paper"))
        connection.execute(text("DELETE FROM paper_2025"))
        noted = connection.execute(select(outbox.table.c.path, outbox.table.c.table_name)).all()
    assert sorted(map(tuple, noted)) == [("new", "paper"), ("old", "paper_2025")]


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_foreign_key_between_file_tables_is_allowed(database: EmptyDatabase) -> None:
    engine, (metadata, outbox) = database.engine(), models()
    Table(
        "note", metadata, Column("id", ForeignKey("paper.id"), primary_key=True), Column("file", StoredObject("docs")),
        Column("kind", String(5)),
    )  # fmt: skip
    metadata.create_all(engine)
    with engine.begin() as connection:
        put(connection, "paper", id=1, file=doc("a"))
        put(connection, "note", id=1, file=doc("n"), kind="x")
    metadata.drop_all(engine, tables=[metadata.tables["note"], metadata.tables["paper"]])
    assert paths(engine, outbox) == []
    metadata.drop_all(engine)
