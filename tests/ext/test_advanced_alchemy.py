"""Advanced Alchemy's services, which make rows of models of pydantic, structs of msgspec and dictionaries."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from advanced_alchemy.repository import SQLAlchemyAsyncRepository, SQLAlchemySyncRepository
from advanced_alchemy.service import SQLAlchemyAsyncRepositoryService, SQLAlchemySyncRepositoryService
from pydantic import BaseModel, ConfigDict, ValidationError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from filerow import FileObject, FileObjectList, storages
from filerow.exceptions import FileTooLargeError, UntrustedDocumentError
from tests.ext.world import LIMIT, Document, World


class Repository(SQLAlchemySyncRepository[Document]):  # type: ignore[type-var]
    model_type = Document


class Documents(SQLAlchemySyncRepositoryService[Document, Repository]):  # type: ignore[type-var]
    repository_type = Repository


class AsyncRepository(SQLAlchemyAsyncRepository[Document]):  # type: ignore[type-var]
    model_type = Document


class AsyncDocuments(SQLAlchemyAsyncRepositoryService[Document, AsyncRepository]):  # type: ignore[type-var]
    repository_type = AsyncRepository


class Model(BaseModel):
    model_config = ConfigDict(from_attributes=True)
    id: int | None = None
    name: str
    file: FileObject | None = None
    pages: FileObjectList = FileObjectList()


class Struct(msgspec.Struct):
    name: str
    file: FileObject | msgspec.UnsetType | None = msgspec.UNSET
    pages: list[FileObject] | msgspec.UnsetType = msgspec.UNSET


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Rows and files of one test."""
    made = World.make(tmp_path)
    yield made
    made.engine.dispose()
    storages.clear_backends()


@pytest.fixture
def service(world: World) -> Iterator[Any]:
    with Session(world.engine) as session:
        yield Documents(session=session, auto_commit=True)


def text(content: bytes = b"abc") -> FileObject:
    return FileObject(filename="a.txt", content=content)


each = pytest.mark.parametrize("kind", [Model, Struct, dict])


@each
def test_service_makes_and_changes_rows_with_files(service: Any, world: World, kind: Callable[..., Any]) -> None:
    document = service.create(kind(name="n", file=text(), pages=[text(b"1"), text(b"2")]))
    assert document.file.get_content() == b"abc"
    assert isinstance(document.pages, FileObjectList)
    first = world.paths()
    assert len(first) == 3

    document = service.update(kind(name="renamed"), item_id=document.id)
    assert (document.name, world.paths()) == ("renamed", first)

    document = service.update(kind(name="n", file=document.file, pages=[*document.pages, text(b"3")]), item_id=document.id)
    assert [page.get_content() for page in document.pages] == [b"1", b"2", b"3"]
    assert len(world.paths() - first) == 1

    document = service.upsert(kind(name="n", file=text(b"new"), pages=[]), item_id=document.id)
    assert world.paths() == {document.file.path}
    service.delete(document.id)
    assert world.paths() == set()


def test_service_makes_and_changes_many_rows(service: Any, world: World) -> None:
    made = service.create_many([Model(name="n", file=text(), pages=[text(b"1")]), Model(name="n", file=text())])
    changed = [Model(id=document.id, name="n", file=text(b"changed")) for document in made]
    service.update_many(changed)
    assert len(world.paths()) == 3
    service.upsert_many([*changed[:1], Model(id=99, name="n", file=text(b"99"))])
    shown = service.to_schema(service.get_many(), schema_type=Model).items
    assert [one.file.get_content() for one in shown] == [b"changed", b"changed", b"99"]
    assert len(world.paths()) == 4
    service.delete_many([document.id for document in service.get_many()])
    assert world.paths() == set()


def test_row_made_of_another_rows_model_has_copies(service: Any, world: World) -> None:
    first = service.create(Model(name="n", file=text(), pages=[text(b"1")]))
    second = service.create(Model.model_validate(first).model_dump(exclude={"id"}))
    assert len(world.paths()) == 4
    service.delete(first.id)
    assert world.paths() == {second.file.path, second.pages[0].path}


async def test_asynchronous_service_does_the_same(world: World) -> None:
    async with AsyncSession(world.async_engine, expire_on_commit=False) as session:
        service: Any = AsyncDocuments(session=session, auto_commit=True)
        document = await service.create(Model(name="n", file=text(), pages=[text(b"1")]))
        document = await service.update(Model(name="n", file=text(b"new")), item_id=document.id)
        assert await document.file.get_content_async() == b"new"
        assert len(world.paths()) == 2
        await service.delete(document.id)
    await world.async_engine.dispose()
    assert await asyncio.to_thread(world.paths) == set()


def test_rules_and_refusals_hold_in_a_service(service: Any, world: World) -> None:
    victim = service.create(Model(name="n", file=text()))
    with pytest.raises(FileTooLargeError):
        service.create(Model(name="n", file=text(b"x" * (LIMIT + 1))))
    with pytest.raises(UntrustedDocumentError):
        service.create({"name": "thief", "file": victim.file.to_dict()})
    with pytest.raises(ValidationError, match="from_upload"):
        Model.model_validate({"name": "thief", "file": Model.model_validate(victim).model_dump(mode="json")["file"]})
    service.repository.session.rollback()
    assert world.paths() == {victim.file.path}
