"""Before an object is deleted, every row that could name it is asked: each shape of column and document, each database."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from sqlalchemy import JSON, Column, Engine, Integer, MetaData, Table, insert, text

from filerow import StoredObject
from filerow._orm.ownership import Ref
from filerow._orm.references import column_named, file_columns, referenced
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


def ours(path: str, backend: str = "docs", filename: str = "cat.png") -> dict[str, Any]:
    return {"v": 1, "backend": backend, "path": path, "filename": filename, "metadata": {"path": "metadata/decoy"}}


ALCHEMY = {"backend": "docs", "filename": "alchemy/cat.png", "content_type": "image/png"}
SQLALCHEMY_FILE = {"path": "docs/abc-1", "file_id": "abc-1", "upload_storage": "docs", "filename": "cat.png"}

NAMED = {
    Ref("docs", path)
    for path in ["a/1.png", "alchemy/cat.png", "abc-1", "list/1", "list/2", "list/alchemy", 'old\'s "one"', "Ä/雪.png", "A/1.PNG"]
}
UNNAMED = {Ref("docs", path) for path in ["cat.png", "metadata/decoy", "docs/abc-1", "nothing", "a/1.pn_", "a/1"]}


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
    with rows.connect() as connection:
        assert referenced(connection, METADATA, [*NAMED, *UNNAMED]) == NAMED


def test_an_object_of_another_backend_with_the_same_path_is_another_object(rows: Engine) -> None:
    with rows.connect() as connection:
        assert referenced(connection, METADATA, [Ref("docs", "other"), Ref("elsewhere", "other")]) == {Ref("elsewhere", "other")}
        assert referenced(connection, METADATA, [Ref("elsewhere", "a/1.png")]) == set()


def test_a_question_about_thousands_of_objects_is_asked_in_batches(rows: Engine) -> None:
    many = [Ref("docs", f"absent/{number}") for number in range(2_500)]
    with rows.connect() as connection:
        assert referenced(connection, METADATA, [*many, Ref("docs", "list/2")]) == {Ref("docs", "list/2")}


def test_odd_names_are_asked_too(database: EmptyDatabase) -> None:
    metadata, engine = MetaData(), database.engine()
    odd = Table(
        '50% :of "it"', metadata, Column("id", Integer, primary_key=True),
        Column("fi%le :a", StoredObject("docs")), Column("l%st :b", StoredObject("docs", multiple=True)),
    )  # fmt: skip
    metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(insert(plain(odd)).values({"fi%le :a": ours("one"), "l%st :b": [ours("two")]}))
        assert referenced(connection, metadata, [Ref("docs", path) for path in ("one", "two", "three")]) == {
            Ref("docs", "one"), Ref("docs", "two"),
        }  # fmt: skip


@pytest.mark.parametrize("database", ["postgresql", "mariadb"], indirect=True)
def test_the_rows_of_a_translated_schema_are_asked(database: EmptyDatabase) -> None:
    schema, metadata = f"tenant_{uuid.uuid4().hex[:12]}", MetaData()
    table = Table("paper", metadata, Column("id", Integer, primary_key=True), schema="any")
    table.append_column(Column("file", StoredObject("docs")))
    table.append_column(Column("pages", StoredObject("docs", multiple=True)))
    engine = database.engine().execution_options(schema_translate_map={"any": schema})
    with engine.begin() as connection:
        connection.execute(text(f"CREATE SCHEMA {schema}"))
    try:
        metadata.create_all(engine)
        with engine.begin() as connection:
            connection.execute(insert(plain(table)).values({"file": ours("one"), "pages": [ours("two")]}))
            assert referenced(connection, metadata, [Ref("docs", path) for path in ("one", "two", "three")]) == {
                Ref("docs", "one"), Ref("docs", "two"),
            }  # fmt: skip
        metadata.drop_all(engine)
    finally:
        with engine.begin() as connection:
            connection.execute(text(f"DROP SCHEMA {schema}"))


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_one_row_that_is_no_json_does_not_hide_the_others(rows: Engine) -> None:
    with rows.begin() as connection:  # no other database lets such text in
        connection.execute(text("INSERT INTO document (file, pages) VALUES ('{half', '[{half'), ('', '')"))
        assert referenced(connection, METADATA, [*NAMED, *UNNAMED]) == NAMED


def test_documents_that_cannot_be_read_name_nothing_and_hide_nothing(rows: Engine) -> None:
    halves = [{"path": "a/1.png"}, {"backend": 3, "path": "nothing"}, {"upload_storage": "docs"}]
    with rows.begin() as connection:
        for half in (*halves, 5, "text", [1]):
            connection.execute(insert(plain(DOCUMENT)).values({"file": half, "pages": [ours("list/1"), half]}))
        assert referenced(connection, METADATA, [*NAMED, *UNNAMED]) == NAMED


def test_columns_are_found_by_name() -> None:
    assert [column.name for column in file_columns(METADATA)] == ["Old Papers.The File", "document.file", "document.pages"]
    with pytest.raises(LookupError, match=r"no file column 'document.fil'; there are: Old Papers.The File, document.file"):
        column_named(METADATA, "document.fil")
