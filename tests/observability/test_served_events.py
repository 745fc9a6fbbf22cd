"""A response is reported when it has sent all it had to send."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import aclosing
from pathlib import Path
from typing import cast

import httpx
import pytest
from flask import Flask
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route

from filerow import FileObject, hooks, storages
from filerow.backends.local import LocalBackend
from filerow.exceptions import ObjectNotFoundError
from filerow.ext import flask, starlette
from filerow.http import Body, serve
from tests.observability.conftest import Heard


@pytest.fixture
def file() -> FileObject:
    made = FileObject("docs", "a.txt", content=b"0123456789")
    made.save()
    return made


def body_of(file: FileObject, **headers: str) -> Body:
    body = serve(file, "GET", headers).body
    assert isinstance(body, Body)
    return body


def test_a_sent_file_is_reported(file: FileObject, heard: Heard) -> None:
    body = body_of(file)
    assert heard == []
    assert b"".join(body.stream(4)) == b"0123456789"
    [event] = heard
    assert (event.kind, event.path, event.sent, event.table) == ("served", file.path, (0, 10), None)
    assert event.file is not None
    assert event.file["filename"] == "a.txt"
    b"".join(body_of(file, Range="bytes=2-5").stream())
    assert heard[1].sent == (2, 6)


async def test_an_async_response_awaits_its_subscribers(file: FileObject) -> None:
    loops = []

    @hooks.subscribe("served")
    async def note(event: hooks.Event) -> None:
        loops.append(asyncio.get_running_loop())

    assert [chunk async for chunk in body_of(file).stream_async()]
    assert loops == [asyncio.get_running_loop()]


async def test_a_reader_who_leaves_is_not_reported(file: FileObject, heard: Heard) -> None:
    chunks = cast("Generator[bytes]", body_of(file).stream(2))
    next(chunks)
    chunks.close()
    async with aclosing(body_of(file).stream_async(2)) as awaited:  # type: ignore[type-var]
        await anext(awaited)
    assert heard == []


async def test_a_missing_object_is_a_failure(file: FileObject, heard: Heard) -> None:
    body = body_of(file)
    storages.get_backend("docs").delete(file.path)
    with pytest.raises(ObjectNotFoundError):
        b"".join(body.stream())
    with pytest.raises(ObjectNotFoundError):
        [chunk async for chunk in body.stream_async()]
    assert [(event.kind, event.operation, type(event.error)) for event in heard] == [("failed", "serve", ObjectNotFoundError)] * 2


async def test_a_file_that_the_server_sends_is_reported(heard: Heard, tmp_path: Path) -> None:
    storages.register_backend(LocalBackend("folder", tmp_path / "root", fsync=False))
    file = FileObject("folder", "a.txt", content=b"0123456789")
    await file.save_async()
    opened = body_of(file).open_file()
    assert opened is not None
    opened.close()
    assert await body_of(file).place_async() is not None
    assert heard.kinds == ["served", "served"]


async def test_frameworks_report_what_they_have_served(file: FileObject, heard: Heard) -> None:
    async def download(request: Request) -> starlette.StoredFileResponse:
        return starlette.StoredFileResponse(file)

    app = Starlette(routes=[Route("/file", download)])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://app") as client:
        assert (await client.get("/file")).content == b"0123456789"
        await client.head("/file")
    assert heard.kinds == ["served"]

    pages = Flask("pages")
    pages.add_url_rule("/file", view_func=lambda: flask.StoredFileResponse(file))
    assert pages.test_client().get("/file").data == b"0123456789"
    assert [event.path for event in heard] == [file.path] * 2
