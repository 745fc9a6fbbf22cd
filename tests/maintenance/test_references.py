"""Before an object is deleted, every row that could name it is asked: each shape of column and document, each database."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import JSON, Column, Engine, Integer, MetaData, Table, insert

from filerow import StoredObject
from filerow._changes import Ref
from filerow._references import column_named, file_columns, referenced
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
    return Table(table.name, MetaData(), *columns)


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


def test_columns_are_found_by_name() -> None:
    assert [column.name for column in file_columns(METADATA)] == ["Old Papers.The File", "document.file", "document.pages"]
    with pytest.raises(LookupError, match=r"no file column 'document.fil'; there are: Old Papers.The File, document.file"):
        column_named(METADATA, "document.fil")
