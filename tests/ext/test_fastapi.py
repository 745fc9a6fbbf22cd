"""What only FastAPI has: the upload parameter's options, and forms that are pydantic models."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import httpx
import pytest
from fastapi import FastAPI, Form
from fastapi.encoders import jsonable_encoder
from fastapi.responses import JSONResponse
from pydantic import BaseModel, TypeAdapter

from filerow import FileObject, FileObjectList, StoredObject, storages
from filerow.exceptions import FileTooLargeError
from filerow.ext.fastapi import StoredFileResponse, Uploaded, install, routes
from tests.ext.world import LIMIT, Document, World

TEXT = ("a.txt", b"abc", "text/plain")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Rows and files of one test."""
    made = World.make(tmp_path)
    yield made
    made.engine.dispose()
    storages.clear_backends()


async def ask(app: FastAPI, method: str, path: str, **how: Any) -> httpx.Response:
    install(app)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        return await client.request(method, path, **how)


async def test_parameter_is_a_pending_file_of_the_type_its_bytes_prove(world: World) -> None:
    app = FastAPI()

    @app.post("/")
    async def take(file: Annotated[FileObject, Uploaded(Document.file)]) -> dict[str, Any]:
        return {"type": file.content_type, "pending": file.has_pending_data, "name": file.filename}

    png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\1\0\0\0\1\x08\2\0\0\0\x90wS\xde"
    answer = await ask(app, "POST", "/", files={"file": ("../cat.txt", png, "text/plain")})
    assert answer.json() == {"type": "image/png", "pending": True, "name": "cat.txt"}


async def test_an_optional_parameter_is_none_or_an_empty_list(world: World) -> None:
    app = FastAPI()

    @app.post("/")
    async def take(
        name: Annotated[str, Form()],
        file: Annotated[FileObject | None, Uploaded(Document.file, optional=True)],
        pages: Annotated[FileObjectList, Uploaded(Document.pages, optional=True)],
    ) -> dict[str, Any]:
        return {"file": file and file.size, "pages": [page.size for page in pages]}

    assert (await ask(app, "POST", "/", data={"name": "n"})).json() == {"file": None, "pages": []}
    both = [("file", TEXT), ("pages", TEXT), ("pages", TEXT)]
    assert (await ask(app, "POST", "/", data={"name": "n"}, files=both)).json() == {"file": 3, "pages": [3, 3]}


async def test_a_field_can_have_another_name_than_its_column(world: World) -> None:
    app = FastAPI()

    @app.post("/")
    async def take(file: Annotated[FileObject, Uploaded(Document.file, field="the-file")]) -> int | None:
        return file.size

    assert (await ask(app, "POST", "/", files={"the-file": TEXT})).json() == 3
    too_large = await ask(app, "POST", "/", files={"the-file": ("a.txt", b"x" * (LIMIT + 1), "text/plain")})
    assert (too_large.status_code, too_large.json()["field"]) == (413, "the-file")
    assert (await ask(app, "POST", "/", files={"file": TEXT})).status_code == 422


async def test_a_type_alone_has_rules_too(world: World) -> None:
    app = FastAPI()

    @app.post("/")
    async def take(file: Annotated[FileObject, Uploaded(StoredObject(max_size=2))]) -> None:
        raise AssertionError

    assert (await ask(app, "POST", "/", files={"file": TEXT})).status_code == 413


def test_what_is_not_a_file_column_is_refused_where_it_is_used() -> None:
    with pytest.raises(TypeError, match=r"such as Document\.file"):
        Uploaded(Document.name)
    with pytest.raises(TypeError, match=r"such as Document\.file"):
        Uploaded("file")


class Input(BaseModel):
    name: str
    file: FileObject


async def test_a_form_model_takes_a_file(world: World) -> None:
    app = FastAPI()

    @app.post("/")
    async def take(form: Annotated[Input, Form(media_type="multipart/form-data")]) -> FileObject:
        return form.file

    answer = await ask(app, "POST", "/", data={"name": "n"}, files={"file": TEXT})
    assert answer.status_code == 200, answer.text
    assert answer.json()["filename"] == "a.txt"
    assert (await ask(app, "POST", "/", data={"name": "n", "file": "text"})).status_code == 422


def test_the_routes_can_be_shown_in_openapi(world: World) -> None:
    app = FastAPI()
    app.include_router(routes("/files", include_in_schema=True))
    paths = app.openapi()["paths"]
    assert {path: set(operations) for path, operations in paths.items()} == {
        "/files/filerow.js": {"get", "head"},
        "/files/{key}/{path}": {"get", "head", "put"},
    }
    names = [operation["operationId"] for operations in paths.values() for operation in operations.values()]
    assert len(names) == len(set(names))


async def test_an_exception_handler_of_the_application_goes_first(world: World) -> None:
    app = FastAPI()

    @app.exception_handler(FileTooLargeError)
    async def mine(request: Any, error: FileTooLargeError) -> Any:
        from fastapi import Response

        return Response("mine", 418)

    @app.post("/")
    async def take(file: Annotated[FileObject, Uploaded(StoredObject(max_size=2))]) -> None:
        raise AssertionError

    assert (await ask(app, "POST", "/", files={"file": TEXT})).status_code == 418


async def test_stored_file_goes_out_with_its_handler_s_headers(world: World) -> None:
    app = FastAPI()
    file = world.stored(file=FileObject(filename="a.txt", content=b"abc")).file
    assert file

    @app.get("/", response_class=StoredFileResponse)
    async def show() -> Any:
        response = StoredFileResponse(file)
        response.set_cookie("seen", "yes")
        response.headers["X-Mine"] = "yes"
        return response

    answer = await ask(app, "GET", "/")
    assert (answer.content, answer.cookies["seen"], answer.headers["x-mine"]) == (b"abc", "yes", "yes")


async def test_a_handler_without_a_response_model_shows_the_view(world: World) -> None:
    app = FastAPI()
    file = FileObject("docs", "a.txt", content=b"abc").save()

    @app.get("/dict", response_model=None)
    async def some() -> Any:
        return {"file": file, "pages": FileObjectList([file])}

    @app.get("/row", response_model=None)
    def row() -> Any:
        return Document(id=7, name="n", file=file)

    @app.get("/encoded")
    def encoded() -> JSONResponse:
        return JSONResponse(jsonable_encoder({"file": file}))

    @app.get("/typed")
    def typed() -> dict[str, Any]:
        return {"file": file, "pages": FileObjectList([file])}

    view = TypeAdapter(FileObject).dump_python(file, mode="json")
    assert (await ask(app, "GET", "/dict")).json() == {"file": view, "pages": [view]}
    assert (await ask(app, "GET", "/row")).json()["file"] == view
    assert (await ask(app, "GET", "/encoded")).json() == {"file": view}
    assert (await ask(app, "GET", "/typed")).json() == {"file": view, "pages": [view]}


async def test_a_json_response_takes_the_view_and_refuses_a_file(world: World) -> None:
    """It is Starlette's, which has no place for encoders."""
    app = FastAPI()
    file = FileObject("docs", "a.txt", content=b"abc").save()

    @app.get("/view")
    def view() -> JSONResponse:
        return JSONResponse({"file": file.public_view()})

    shown = TypeAdapter(FileObject).dump_python(file, mode="json")
    assert (await ask(app, "GET", "/view")).json() == {"file": shown}
    with pytest.raises(TypeError, match="FileObject is not JSON serializable"):
        JSONResponse({"file": file})
