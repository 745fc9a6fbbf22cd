"""SQLModel's table models: files in fields, kept by its own sessions, shown by their public view."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from pydantic import ValidationError
from sqlalchemy import Engine
from sqlalchemy.ext.asyncio import create_async_engine
from sqlmodel import Field, Session, SQLModel, create_engine, select
from sqlmodel.ext.asyncio.session import AsyncSession

from filerow import FileObject, FileObjectList, StoredObject, storages
from filerow.backends.memory import MemoryBackend
from filerow.exceptions import FileTooLargeError, UntrustedDocumentError
from filerow.ext.sqlmodel import file_field

CLAIM = {"v": 1, "backend": "docs", "path": "somebody/elses.txt"}
VIEW = {"filename", "content_type", "size", "last_modified", "metadata"}


class SheetBase(SQLModel):
    title: str = "untitled"
    file: FileObject | None = file_field(StoredObject("docs", max_size="1 kB"), default=None, description="The text.")


class Sheet(SheetBase, table=True):
    id: int | None = Field(default=None, primary_key=True)
    pages: FileObjectList = file_field(StoredObject("docs", multiple=True))


class Sketch(SheetBase, table=True):
    id: int | None = Field(default=None, primary_key=True)
    scan: FileObject = file_field(StoredObject("docs"))


class SheetPublic(SheetBase):
    id: int
    pages: FileObjectList


class SheetCreate(SheetBase):
    pages: FileObjectList


class SheetUpdate(SQLModel):
    title: str | None = None
    file: FileObject | None = None
    pages: FileObjectList | None = None


@pytest.fixture
def docs() -> Iterator[MemoryBackend]:
    """Where the files are."""
    storages.clear_backends()
    backend = MemoryBackend("docs")
    storages.register_backend(backend)
    yield backend
    storages.clear_backends()


@pytest.fixture
def engine(docs: MemoryBackend, tmp_path: Path) -> Iterator[Engine]:
    """A database with the tables."""
    engine = create_engine(f"sqlite:///{tmp_path}/papers.db")
    SQLModel.metadata.create_all(engine, tables=[model.__table__ for model in (Sheet, Sketch)])  # type: ignore[attr-defined]
    yield engine
    engine.dispose()


def text(content: bytes = b"abc") -> FileObject:
    return FileObject(filename="a.txt", content=content)


def count(docs: MemoryBackend) -> int:
    return len(list(docs.list()))


@pytest.mark.parametrize("route", ["constructor", "assignment"])
def test_a_clone_has_a_list_of_its_own(docs: MemoryBackend, engine: Engine, route: str) -> None:
    with Session(engine) as session:
        sheet = Sheet(pages=[text(b"1"), text(b"2")])
        session.add(sheet)
        session.commit()
        clone = Sheet(pages=sheet.pages) if route == "constructor" else Sheet()
        if route == "assignment":
            clone.pages = sheet.pages
        clone.pages.pop()
        sheet.pages.append(text(b"3"))
        session.add(clone)
        session.commit()
        assert [page.get_content() for page in sheet.pages] == [b"1", b"2", b"3"]
        assert [page.get_content() for page in clone.pages] == [b"1"]
    assert count(docs) == 4


def test_the_annotation_decides_whether_a_column_takes_null() -> None:
    def nullable(model: Any) -> dict[str, bool]:
        return {column.name: column.nullable for column in model.__table__.columns if isinstance(column.type, StoredObject)}

    assert nullable(Sheet) == {"file": True, "pages": False}
    assert nullable(Sketch) == {"file": True, "scan": False}
    assert SheetBase.model_fields["file"].description == "The text."


def test_files_live_and_die_with_their_rows(engine: Engine, docs: MemoryBackend) -> None:
    with Session(engine) as session:
        sheet = Sheet(file=text(), pages=[text(b"1"), text(b"2")])
        session.add_all([sheet, Sheet(), Sketch(scan=text(), file=text())])
        session.commit()
        assert count(docs) == 5
        assert sheet.file is not None
        assert sheet.file.path.startswith("sheet/file/")
        sheet.sqlmodel_update({"file": text(b"new")})
        sheet.pages.pop()
        session.commit()
        assert count(docs) == 4
        assert sheet.file.get_content() == b"new"
        [found] = session.exec(select(Sheet).where(Sheet.file.size == 3)).all()  # type: ignore[union-attr]
        assert found is sheet
        session.delete(sheet)
        session.commit()
        assert count(docs) == 2


MAKERS: dict[str, Callable[[SheetCreate], Sheet]] = {
    "validated": Sheet.model_validate,
    "dumped": lambda sent: Sheet(**sent.model_dump()),
    "dumped and validated": lambda sent: Sheet.model_validate(sent.model_dump()),
}


@pytest.mark.parametrize("make", MAKERS)
def test_rows_are_made_of_models_and_changed_by_their_dumps(make: str, engine: Engine, docs: MemoryBackend) -> None:
    with Session(engine) as session:
        sheet = MAKERS[make](SheetCreate(file=text(), pages=[text(b"1")]))
        session.add(sheet)
        session.commit()
        sheet.sqlmodel_update(SheetUpdate(file=text(b"new")).model_dump(exclude_unset=True))
        session.commit()
        assert sheet.file is not None
        assert (sheet.file.get_content(), [page.get_content() for page in sheet.pages]) == (b"new", [b"1"])
        sheet.sqlmodel_update(SheetUpdate(pages=[text(b"2"), text(b"3")]).model_dump(exclude_unset=True))
        session.commit()
        assert count(docs) == 3
        kept = {info.path for info in docs.list()}
        sheet.sqlmodel_update(SheetPublic.model_validate(sheet).model_dump())
        session.commit()
        assert {info.path for info in docs.list()} == kept, "nothing has changed"
        session.refresh(sheet)  # SQLModel dumps what is loaded
        session.add(Sheet(**sheet.model_dump(exclude={"id"})))
        session.commit()
        assert count(docs) == 6
        session.delete(sheet)
        session.commit()
        assert count(docs) == 3


@pytest.mark.parametrize("assign", ["when it is made", "later", "later, an equal one"])
def test_assigned_list_forgets_no_change_after_a_flush(assign: str, engine: Engine, docs: MemoryBackend) -> None:
    with Session(engine) as session:
        sheet = Sheet(pages=[text(b"1"), text(b"2")])
        session.add(sheet)
        if assign != "when it is made":
            session.commit()
            sheet.pages = FileObjectList(sheet.pages if "equal" in assign else sheet.pages[1:])  # SQLModel keeps this very list
            sheet.pages = list(sheet.pages)  # type: ignore[assignment]
        session.flush()
        kept = len(sheet.pages)
        sheet.pages.append(text(b"3"))
        session.commit()
        assert [page.get_content() for page in sheet.pages][kept:] == [b"3"]
        assert count(docs) == kept + 1


async def test_its_asynchronous_session_needs_nothing_else(docs: MemoryBackend) -> None:
    engine = create_async_engine("sqlite+aiosqlite://")
    async with engine.begin() as connection:
        await connection.run_sync(Sheet.__table__.create)  # type: ignore[attr-defined]
    async with AsyncSession(engine, expire_on_commit=False) as session:
        session.add(Sheet(file=text()))
        await session.commit()
        sheet = (await session.exec(select(Sheet))).one()
        assert sheet.file is not None
        assert await sheet.file.get_content_async() == b"abc"
        await session.delete(sheet)
        await session.commit()
    assert count(docs) == 0
    await engine.dispose()


def test_rules_hold_where_a_field_is_assigned(docs: MemoryBackend) -> None:
    with pytest.raises(FileTooLargeError):
        Sheet(file=text(b"x" * 1001))
    sheet = Sheet()
    with pytest.raises(FileTooLargeError):
        sheet.file = text(b"x" * 1001)


def test_both_kinds_of_models_refuse_documents_of_clients(docs: MemoryBackend) -> None:
    for model in (SheetBase, SheetPublic, Sheet):
        with pytest.raises(ValidationError, match="from_upload"):
            model.model_validate({"id": 1, "file": CLAIM, "pages": []})
    with pytest.raises(UntrustedDocumentError):
        Sheet(file=CLAIM)  # table models validate nothing, so the column does


async def test_fastapi_shows_the_public_view_and_takes_no_document(engine: Engine) -> None:
    app = FastAPI()

    @app.get("/papers/{number}")
    def read(number: int) -> SheetPublic:
        with Session(engine) as session:
            return SheetPublic.model_validate(session.get_one(Sheet, number))

    @app.post("/papers")
    def write(sheet: SheetBase) -> None:
        pytest.fail("a client's document came through")

    with Session(engine) as session:
        session.add(Sheet(id=1, file=text(), pages=[text()]))
        session.commit()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        shown = (await client.get("/papers/1")).json()
        assert set(shown["file"]) == set(shown["pages"][0]) == VIEW
        assert (await client.post("/papers", json={"file": CLAIM})).status_code == 422


@pytest.mark.parametrize("name", ["sa_column", "sa_type"])
def test_the_column_is_decided_in_one_place(name: str) -> None:
    with pytest.raises(TypeError, match=f"remove {name}="):
        file_field(StoredObject("docs"), **{name: None})
