"""What the library promises about rows, run by every driver; each case gets ``app``, and awaits where the driver does."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import JSON, MetaData, delete, func, insert, select, type_coerce, update
from sqlalchemy.exc import DBAPIError

from filerow import FileObject, storages
from filerow.backends.memory import MemoryBackend
from filerow.maintenance import check, sweep
from filerow.outbox import Drained
from tests.dialects.conftest import LACKS, App
from tests.dialects.models import OUTBOX, Document, NotedDocument, Plain
from tests.generated import generated

FOUR_GIB = 1 << 32
LEGACY = {"filename": "legacy/cat.png", "backend": "docs", "size": 3, "content_type": "image/png", "metadata": {}}


def file(content: bytes = b"content", filename: str = "cat.txt", **facts: Any) -> FileObject:
    return FileObject(filename=filename, content=content, **facts)


def add(app: App, model: Any = Document, **values: Any) -> int:
    with app.session() as session:
        row = model(**values)
        session.add(row)
        session.commit()
        key: int = row.id
        return key


def write(app: App, document: Any, column: str = "file", model: Any = Document) -> int:
    """Put a document into a new row as it is, past the library."""
    key = add(app, model)
    table = model.__table__
    with app.sync_engine.begin() as connection:
        value = type_coerce(document, JSON(none_as_null=True))
        connection.execute(update(table).where(table.c.id == key).values({column: value}))
    return key


def test_file_is_attached_read_replaced_and_deleted_with_its_row(app: App) -> None:
    key = add(app, file=file(b"one", "ünïcødé 猫 \U0001f408.txt"), pages=[file(b"p1"), file(b"p2")])
    with app.session() as session:
        row = session.get_one(Document, key)
        assert row.file is not None
        assert row.file.filename == "ünïcødé 猫 \U0001f408.txt"
        assert [page.size for page in row.pages] == [2, 2]
        assert app.there() == {row.file.path, *(page.path for page in row.pages)}
        row.file = file(b"two")
        session.commit()
        assert row.file is not None
        assert row.file.size == 3
        assert app.there() == {row.file.path, *(page.path for page in row.pages)}
        session.delete(row)
        session.commit()
    assert app.there() == set()


def test_no_file_is_null(app: App) -> None:
    key = add(app, file=file())
    with app.session() as session:
        row = session.get_one(Document, key)
        row.file = None
        session.commit()
        assert row.file is None
        assert row.pages == []
        table = Plain.metadata.tables["document"]
        for condition in (Document.file.is_(None), table.c.file.is_(None)):
            assert session.scalar(select(func.count()).select_from(Document).where(condition)) == 1
        session.add(Document(file=file()))
        session.commit()
        assert session.scalars(select(Document.id).where(Document.file.is_not(None))).all() != [key]
    assert len(app.there()) == 1


def test_a_list_is_edited_in_place(app: App) -> None:
    key = add(app, pages=[file(b"1"), file(b"22"), file(b"333")])
    with app.session() as session:
        row = session.get_one(Document, key)
        row.pages.pop(0)
        row.pages.append(file(b"4444"))
        row.pages.reverse()
        session.commit()
    with app.session() as session:
        row = session.get_one(Document, key)
        assert [page.size for page in row.pages] == [4, 3, 2]
        assert app.there() == {page.path for page in row.pages}


def test_a_rollback_leaves_nothing(app: App) -> None:
    key = add(app, file=file(b"old"))
    before = app.there()
    with app.session() as session:
        session.get_one(Document, key).file = file(b"new")
        session.add(Document(file=file()))
        session.flush()
        assert len(app.there()) == 3
        session.rollback()
    assert app.there() == before


@pytest.mark.needs("savepoints")
def test_a_savepoint_takes_back_its_own(app: App) -> None:
    with app.session() as session:
        session.add(kept := Document(file=file(b"kept")))
        session.flush()
        with session.begin_nested() as savepoint:
            session.add(Document(file=file(b"gone")))
            session.flush()
            savepoint.rollback()
        session.commit()
        assert kept.file is not None
        assert app.there() == {kept.file.path}


def test_bulk_statements_store_and_delete(app: App) -> None:
    with app.session() as session:
        rows = [{"title": "a", "file": file(b"1"), "pages": [file(b"2")]}, {"title": "b", "file": file(b"3"), "pages": []}]
        session.execute(insert(Document), rows)
        session.commit()
        assert len(app.there()) == 3
        session.execute(update(Document).where(Document.title == "a").values(file=file(b"4444"), pages=[]))
        session.commit()
        assert len(app.there()) == 2
        session.execute(update(Document).values(file=None))
        session.commit()
        assert app.there() == set()
        session.execute(update(Document).where(Document.title == "b").values(file=file(b"5")))
        session.execute(delete(Document).where(Document.title == "b"))
        session.commit()
    assert app.there() == set()


def test_rows_of_a_failed_bulk_insert_keep_their_files(app: App) -> None:
    taken = add(app, file=file(b"old"))
    rows = [{"id": taken + 1, "file": file(b"new")}, {"id": taken, "file": file(b"refused")}]
    with app.session() as session:
        with pytest.raises(DBAPIError):
            session.execute(insert(Document), rows)
        with suppress(DBAPIError):  # pg8000 refuses to commit what PostgreSQL has rolled back
            session.commit()  # of the first row, where the database goes on after an error
        session.rollback()
        assert app.there() == {row.file.path for row in session.scalars(select(Document)) if row.file is not None}


def test_queries_look_into_documents(app: App) -> None:
    with app.session() as session:
        small = Document(title="small", file=file(b"x", "käse.txt", metadata={"page": 7, "tag": "x"}))
        large = Document(title="large", file=file(b"%PDF-1.7 and more", "b.pdf"))
        session.add_all([small, large, Document(title="none")])
        session.commit()
        assert small.file is not None
        conditions = {
            "size": Document.file.size < 2,
            "filename": Document.file.filename == "käse.txt",
            "like": Document.file.filename.like("k%.txt"),
            "content_type": Document.file.content_type == "text/plain",
            "content types": Document.file.content_type.in_(["text/plain", "image/png"]),
            "path": Document.file.path == small.file.path,
            "backend": (Document.file.backend == "docs") & (Document.title == "small"),
            "checksum": Document.file.checksum == small.file.checksum,
            "file": Document.file == small.file,
            "files": Document.file.in_([small.file]),
            "metadata": Document.file.metadata["page"].as_integer() == 7,
            "metadata's text": Document.file.metadata["tag"].as_string() == "x",
            "JSON": Document.file["filename"].as_string() == "käse.txt",
            "time": (Document.file.last_modified > 1_000_000_000) & (Document.title == "small"),
        }
        for name, condition in conditions.items():
            assert session.scalars(select(Document.title).where(condition)).all() == ["small"], name
        by_size = select(Document.title).where(Document.file.is_not(None)).order_by(Document.file.size.desc())
        assert session.scalars(by_size).all() == ["large", "small"]
        assert session.scalar(select(func.sum(Document.file.size))) == 18


def test_sizes_are_not_cut_to_32_bits(app: App) -> None:
    key = write(app, {"v": 1, "backend": "docs", "path": "huge", "filename": "huge", "size": FOUR_GIB + 1, "metadata": {}})
    with app.session() as session:
        assert session.scalars(select(Document.id).where(Document.file.size > FOUR_GIB)).all() == [key]
        assert session.scalars(select(Document.id).where(Document.file.size <= FOUR_GIB)).all() == []
        assert session.scalar(select(func.max(Document.file.size))) == FOUR_GIB + 1


def test_documents_of_another_library_are_read_and_replaced(app: App) -> None:
    app.backend.put("legacy/cat.png", b"cat")
    key = write(app, LEGACY)
    with app.session() as session:
        row = session.get_one(Document, key)
        assert row.file is not None
        assert row.file.path == "legacy/cat.png"
        assert row.file.get_content() == b"cat"
        row.file = file(b"new")
        session.commit()
        assert row.file is not None
        assert app.there() == {row.file.path}


def test_the_check_finds_who_names_an_object(app: App) -> None:
    key = add(app, file=file(b"1"), pages=[file(b"2"), file(b"3")])
    legacy = [generated("document", "file", ".png"), generated("document", "pages", ".png")]
    for path in legacy:
        app.backend.put(path, b"")
    write(app, {**LEGACY, "filename": legacy[0]})
    write(app, [{**LEGACY, "filename": legacy[1]}], "pages")
    named = app.there()
    app.backend.put(generated("document", "file", ".png"), b"")
    swept(app)
    assert app.there() == named
    table = Plain.metadata.tables["document"]
    with app.sync_engine.begin() as connection:
        connection.execute(delete(table).where(table.c.id == key))
    swept(app)
    assert app.there() == set(legacy)
    if "outbox" not in LACKS.get(app.driver, set()):
        compared_exactly(app)


def others(app: App) -> list[MetaData]:
    """Return the models that have an outbox, which stand beside those without one in the same database."""
    return [] if "outbox" in LACKS.get(app.driver, set()) else [NotedDocument.metadata]


def swept(app: App) -> None:
    for _ in sweep(Plain.metadata, app.sync_engine, delete=True, grace=timedelta(0), also=others(app)):
        pass


def compared_exactly(app: App) -> None:
    """Whoever compares without regard to case, or to the backend, keeps what nobody names."""
    storages.register_backend(MemoryBackend("other"))
    write(app, LEGACY, model=NotedDocument)
    write(app, [{**LEGACY, "filename": "legacy/in-a-list.png"}], "pages", NotedDocument)
    names = ["legacy/cat.png", "legacy/in-a-list.png"]
    asked = [*(("docs", name) for name in [*names, *(name.upper() for name in names), "b"]), *(("other", name) for name in names)]
    with app.sync_engine.begin() as connection:
        for backend, path in asked:
            connection.execute(insert(OUTBOX.table).values(backend=backend, path=path, dropped_at=1.0))
    assert OUTBOX.drain(app.sync_engine) == Drained(deleted=5, taken_back=2)


def test_sweep_removes_what_no_row_names(app: App) -> None:
    add(app, file=file(b"1"), pages=[file(b"2")])
    kept = app.there()
    key = add(app, file=file(b"3"))
    table = Plain.metadata.tables["document"]
    with app.sync_engine.begin() as connection:
        connection.execute(delete(table).where(table.c.id == key))
    assert len(app.there() - kept) == 1
    swept = list(sweep(Plain.metadata, app.sync_engine, delete=True, grace=timedelta(0), also=others(app)))
    assert [found.code for progress in swept for found in progress.findings] == ["orphan"]
    assert app.there() == kept
    assert [found for progress in check(Plain.metadata, app.sync_engine) for found in progress.findings] == []


@pytest.mark.needs("outbox")
@pytest.mark.parametrize("route", ["session", "bulk", "sql"])
def test_outbox_notes_what_rows_release(app: App, route: str) -> None:
    keys = [add(app, NotedDocument, file=file(b"1"), pages=[file(b"2"), file(b"3")]) for _ in range(2)]
    before = app.there()
    with app.session() as session:
        if route == "session":
            session.delete(session.get_one(NotedDocument, keys[0]))
            session.get_one(NotedDocument, keys[1]).file = file(b"4444")
        elif route == "bulk":
            session.execute(delete(NotedDocument).where(NotedDocument.id == keys[0]))
            session.execute(update(NotedDocument).where(NotedDocument.id == keys[1]).values(file=None))
        else:
            connection = session.connection()
            connection.exec_driver_sql(f"DELETE FROM noted_document WHERE id = {keys[0]}")
            connection.exec_driver_sql(f"UPDATE noted_document SET file = NULL WHERE id = {keys[1]}")
        session.commit()
    assert before <= app.there(), "a commit deletes nothing"
    with app.sync_engine.connect() as connection:
        notes = connection.execute(select(OUTBOX.table.c.path, OUTBOX.table.c.document)).all()
    assert len({path for path, _ in notes}) == len(notes) == 4
    for path, document in notes:
        written = json.loads(document) if isinstance(document, str) else document
        assert written["path"] == path
    assert OUTBOX.drain(app.sync_engine).deleted == 4
    with app.session() as session:
        row = session.get_one(NotedDocument, keys[1])
        assert app.there() == {page.path for page in row.pages} | ({row.file.path} if row.file else set())


@pytest.mark.needs("outbox")
def test_a_file_that_returns_is_kept(app: App) -> None:
    add(app, NotedDocument, file=file(b"1"))
    table = NotedDocument.__table__
    with app.sync_engine.begin() as connection:
        connection.execute(
            insert(table).from_select(["title", "file", "pages"], select(table.c.title, table.c.file, table.c.pages))
        )
        connection.execute(delete(table).where(table.c.id == select(func.min(table.c.id)).scalar_subquery().correlate(None)))
    assert OUTBOX.drain(app.sync_engine).deleted == 0
    assert len(app.there()) == 1
