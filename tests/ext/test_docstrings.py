"""The programs in the docstrings of the frameworks' modules, run as they stand."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import io
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest
from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from sqlalchemy.pool import NullPool

from filerow import FileObject, StoredObject, storages

IMPORTS = {
    "fastapi": """
from typing import Annotated
from fastapi import FastAPI, Form, HTTPException
from pydantic import BaseModel, ConfigDict
app = FastAPI()
class DocumentOut(BaseModel):
    model_config = ConfigDict(from_attributes=True)
    id: int
""",
    "starlette": """
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
""",
    "litestar": """
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from typing import Annotated
import litestar
from litestar import get, post
from litestar.di import NamedDependency, Provide
from litestar.enums import RequestEncodingType
from litestar.exceptions import NotFoundException
from litestar.params import Body, FromPath
from sqlalchemy.ext.asyncio import AsyncSession
async def one() -> AsyncIterator[AsyncSession]:
    async with sessions() as session:
        yield session
Litestar = partial(litestar.Litestar, dependencies={"db_session": Provide(one)})
""",
    "flask": "from flask import Flask, abort, request",
}


class Base(DeclarativeBase):
    pass


class Document(Base):
    __tablename__ = "document"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    file: Mapped[FileObject] = mapped_column(StoredObject("docs"))


@pytest.fixture
def namespace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """The names that the programs take for granted."""
    storages.register_backend("memory://", key="docs", base_url="/files", development=True)
    engine = create_engine(f"sqlite:///{tmp_path / 'docs.sqlite'}", poolclass=NullPool)
    Base.metadata.create_all(engine)
    async_engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path / 'docs.sqlite'}", poolclass=NullPool)
    sessions = async_sessionmaker(async_engine, expire_on_commit=False)
    program = ModuleType("documented_program")  # frameworks look their handlers' modules up
    vars(program).update(Document=Document, FileObject=FileObject, Session=Session, engine=engine, sessions=sessions)
    monkeypatch.setitem(sys.modules, "documented_program", program)
    yield vars(program)
    storages.clear_backends()


def run(framework: str, namespace: dict[str, Any]) -> None:
    """Run a module's program, with what its text takes for granted."""
    module = importlib.import_module(f"filerow.ext.{framework}")
    lines = (inspect.getdoc(module) or "").partition("::\n")[2].splitlines()
    program = textwrap.dedent("\n".join(line for line in lines if line.startswith("    ") or not line))
    namespace |= {name: getattr(module, name) for name in module.__all__}
    for source in (IMPORTS[framework], program):
        exec(compile(source, module.__name__, "exec", dont_inherit=True), namespace)


@pytest.mark.parametrize("framework", ["fastapi", "flask", "starlette"])
def test_program_uploads_sends_and_answers_404(framework: str, namespace: dict[str, Any]) -> None:
    run(framework, namespace)
    if framework == "flask":
        client = namespace["app"].test_client()
        created = client.post("/documents", data={"name": "Notes", "file": (io.BytesIO(b"a note"), "notes.txt")})
        assert client.get(f"/documents/{created.json['id']}/file").data == b"a note"
        assert client.get("/documents/4711/file").status_code == 404
        return

    async def use() -> None:
        transport = httpx.ASGITransport(namespace["app"], raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as browser:
            created = await browser.post("/documents", data={"name": "Notes"}, files={"file": ("notes.txt", b"a note")})
            assert created.is_success, created.text
            sent = await browser.get(f"/documents/{created.json()['id']}/file")
            assert sent.content == b"a note"
            assert (await browser.get("/documents/4711/file")).status_code == 404

    asyncio.run(use())


def test_program_of_litestar_answers_404(namespace: dict[str, Any]) -> None:
    from litestar.testing import TestClient

    run("litestar", namespace)
    with TestClient(namespace["app"]) as client:
        assert client.get("/documents/4711/file").status_code == 404
