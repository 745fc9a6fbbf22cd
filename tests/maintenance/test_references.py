"""Before an object is deleted, every row that could name it is asked: each shape of column and document, each database."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import pytest
from sqlalchemy import JSON, Column, Engine, Integer, MetaData, Table, insert, text

from filerow import StoredObject, storages
from filerow.backends.memory import MemoryBackend
from filerow.maintenance import ColumnStats, ls, stats
from filerow.outbox import Outbox
from tests.databases import EmptyDatabase

METADATA = MetaData()
DOCUMENT = Table(
    "document",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("file", StoredObject("docs")),
    Column("pages", StoredObject("docs", multiple=True)),
)
ARCHIVE = Table(
    "Old Papers", METADATA, Column("id", Integer, primary_key=True), Column("The File", StoredObject("docs", lifecycle=False))
)
OUTBOX = Outbox(METADATA)


class RecordingBackend(MemoryBackend):
    """Remembers what it was asked to delete."""

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.deleted: set[str] = set()

    def _delete(self, paths: Sequence[str]) -> Mapping[str, BaseException]:
        self.deleted.update(paths)
        return {}


@pytest.fixture(autouse=True)
def _recording_backends() -> Iterator[None]:
    storages.clear_backends()
    for key in ("docs", "elsewhere"):
        storages.register_backend(RecordingBackend(key))
    yield
    storages.clear_backends()


def named(engine: Engine, asked: Iterable[tuple[str, str]], outbox: Outbox = OUTBOX) -> set[tuple[str, str]]:
    """Return those of the objects that are kept when all of them are to be deleted."""
    asked = list(asked)
    with engine.begin() as connection:
        notes = [{"backend": backend, "path": path, "dropped_at": 1.0} for backend, path in asked]
        connection.execute(insert(outbox.table), notes)
    outbox.drain(engine, batch=10_000)
    deleted: set[tuple[str, str]] = set()
    for key in ("docs", "elsewhere"):
        backend = storages.get_backend(key)
        assert isinstance(backend, RecordingBackend)
        deleted |= {(key, path) for path in backend.deleted}
        backend.deleted.clear()
    assert deleted <= set(asked)
    return set(asked) - deleted


def ours(path: str, backend: str = "docs", filename: str = "cat.png") -> dict[str, Any]:
    return {"v": 1, "backend": backend, "path": path, "filename": filename, "metadata": {"path": "metadata/decoy"}}


ALCHEMY = {"backend": "docs", "filename": "alchemy/cat.png", "content_type": "image/png"}
SQLALCHEMY_FILE = {"path": "docs/abc-1", "file_id": "abc-1", "upload_storage": "docs", "filename": "cat.png"}

NAMED = {
    ("docs", path)
    for path in ["a/1.png", "alchemy/cat.png", "abc-1", "list/1", "list/2", "list/alchemy", 'old\'s "one"', "Ä/雪.png", "A/1.PNG"]
}
UNNAMED = {("docs", path) for path in ["cat.png", "metadata/decoy", "docs/abc-1", "nothing", "a/1.pn_", "a/1"]}

GENERATED = ("docs", "document/file/0190000000007000800000000000000a.png")
ELSEWHERE = ("docs", "another/file/0190000000007000800000000000000b.png")


def plain(table: Table) -> Table:
    """Return the table with columns of plain JSON, to write documents as they are."""
    columns = [
        Column(column.name, JSON(none_as_null=True)) if isinstance(column.type, StoredObject) else column._copy()
        for column in table.columns
    ]
    return Table(table.name, MetaData(), *columns, schema=table.schema)


@pytest.fixture
def rows(database: EmptyDatabase) -> Engine:
    engine = database.engine()
    METADATA.create_all(engine)
    values: list[tuple[Any, Any]] = [
        (ours("a/1.png"), None),
        (ours("A/1.PNG"), []),
        (ALCHEMY, [ours("list/1"), ours("list/2"), {**ALCHEMY, "filename": "list/alchemy"}]),
        (SQLALCHEMY_FILE, None),
        (None, None),
        (ours("other", backend="elsewhere"), [ours("Ä/雪.png")]),
    ]
    with engine.begin() as connection:
        for file, list_ in values:
            connection.execute(insert(plain(DOCUMENT)).values({"file": file, "pages": list_}))
        connection.execute(insert(plain(ARCHIVE)).values({"The File": ours('old\'s "one"')}))
    return engine


def test_every_named_object_is_found_and_no_other(rows: Engine) -> None:
    assert named(rows, [*NAMED, *UNNAMED]) == NAMED


def test_same_path_in_another_backend_is_another_object(rows: Engine) -> None:
    assert named(rows, [("docs", "other"), ("elsewhere", "other")]) == {("elsewhere", "other")}
    assert named(rows, [("elsewhere", "a/1.png")]) == set()


@pytest.mark.one_in(2)
def test_thousands_of_objects_are_asked_about_in_batches(rows: Engine) -> None:
    many = [("docs", f"absent/{number}") for number in range(2_500)]
    assert named(rows, [*many, ("docs", "list/2")]) == {("docs", "list/2")}


def test_odd_names_are_asked_too(database: EmptyDatabase) -> None:
    metadata, engine = MetaData(), database.engine()
    odd = Table(
        '50% :of "it"', metadata, Column("id", Integer, primary_key=True),
        Column("fi%le :a", StoredObject("docs")), Column("l%st :b", StoredObject("docs", multiple=True)),
    )  # fmt: skip
    outbox = Outbox(metadata)
    metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(insert(plain(odd)).values({"fi%le :a": ours("one"), "l%st :b": [ours("two")]}))
    assert named(engine, [("docs", path) for path in ("one", "two", "three")], outbox) == {("docs", "one"), ("docs", "two")}


@pytest.mark.parametrize("database", ["postgresql", "mariadb"], indirect=True)
def test_the_rows_of_a_translated_schema_are_asked(database: EmptyDatabase) -> None:
    schema, metadata = f"tenant_{uuid.uuid4().hex[:12]}", MetaData(schema="any")
    table, outbox = Table("paper", metadata, Column("id", Integer, primary_key=True)), Outbox(metadata)
    table.append_column(Column("file", StoredObject("docs")))
    table.append_column(Column("pages", StoredObject("docs", multiple=True)))
    engine = database.engine().execution_options(schema_translate_map={"any": schema})
    with engine.begin() as connection:
        connection.execute(text(f"CREATE SCHEMA {schema}"))
    try:
        metadata.create_all(engine)
        with engine.begin() as connection:
            connection.execute(insert(plain(table)).values({"file": ours("one"), "pages": [ours("two")]}))
        assert named(engine, [("docs", path) for path in ("one", "two", "three")], outbox) == {("docs", "one"), ("docs", "two")}
        metadata.drop_all(engine)
    finally:
        with engine.begin() as connection:
            connection.execute(text(f"DROP SCHEMA {schema}"))


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_row_that_is_not_json_does_not_hide_the_others(rows: Engine) -> None:
    with rows.begin() as connection:  # no other database lets such text in, nor does this one where the index is
        kinds = text("SELECT type, name FROM sqlite_master WHERE tbl_name = 'document' AND name LIKE 'filerow%'")
        for kind, name in connection.execute(kinds).all():
            connection.execute(text(f'DROP {kind} "{name}"'))
        connection.execute(text("INSERT INTO document (file, pages) VALUES ('{half', '[{half'), ('', '')"))
    assert named(rows, [*NAMED, GENERATED, ELSEWHERE]) == {*NAMED, GENERATED}


def test_unreadable_documents_keep_what_may_be_theirs(rows: Engine) -> None:
    halves = [{"path": "a/1.png"}, {"backend": 3, "path": "nothing"}, {"upload_storage": "docs"}]
    with rows.begin() as connection:
        for half in (*halves, 5, "text", [1]):
            connection.execute(insert(plain(DOCUMENT)).values({"file": half, "pages": [ours("list/1"), half]}))
    # a path that nobody generated says not whose it is, and a generated one says the table
    assert named(rows, [*NAMED, *UNNAMED, GENERATED, ELSEWHERE]) == {*NAMED, *UNNAMED, GENERATED}


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_columns_are_found_by_name(rows: Engine) -> None:
    found = [one.column for one in stats(METADATA, rows) if isinstance(one, ColumnStats)]
    assert list(dict.fromkeys(found)) == ["Old Papers.The File", "document.file", "document.pages"]
    with pytest.raises(LookupError, match=r"no file column 'document.fil'; there are: Old Papers.The File, document.file"):
        ls(METADATA, rows, "document.fil")
