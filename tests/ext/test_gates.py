"""Who may upload directly, what a request for it may be, and what a handler of any method may answer, through every framework."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any

import flask
import httpx
import pytest
from fastapi import FastAPI, HTTPException
from flask.testing import FlaskClient
from litestar import Litestar, post
from litestar.enums import RequestEncodingType
from litestar.params import Body, FromPath
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route

from filerow import FileObject, FileObjectList, StoredObject, storages
from filerow.backends.memory import MemoryBackend
from filerow.direct import DirectUploads
from filerow.exceptions import FileValidationError
from filerow.ext import fastapi, litestar, starlette
from filerow.ext import flask as flask_ext
from filerow.http import upload_capacity

SECRET = "a secret of these tests, and no other"
BEGIN = {"filename": "a.txt", "size": 3}
LONGEST = 64 * 1024


class Base(DeclarativeBase):
    pass


class Document(Base):
    __tablename__ = "document"
    id: Mapped[int] = mapped_column(primary_key=True)
    file: Mapped[FileObject | None] = mapped_column(StoredObject("docs"))


@pytest.fixture(autouse=True)
def backend() -> Iterator[MemoryBackend]:
    storages.clear_backends()
    made = MemoryBackend("docs", base_url="/files", secret=SECRET)
    storages.register_backend(made)
    yield made
    storages.clear_backends()


def uploads() -> dict[str, DirectUploads]:
    return {"documents": DirectUploads(Document.file, secret=SECRET)}


def stored() -> FileObject:
    return FileObject("docs", "a.txt", content=b"of a handler").save()


class Client:
    """A client of an ASGI application in this process, or of a WSGI application in its transport."""

    def __init__(self, app: Any) -> None:
        self._app = app

    def post(self, url: str, **given: Any) -> httpx.Response:
        if isinstance(self._app, httpx.WSGITransport):
            with httpx.Client(transport=self._app, base_url="http://app") as blocking:
                return blocking.post(url, **given)

        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(self._app)
            async with httpx.AsyncClient(transport=transport, base_url="http://app") as client:
                return await client.post(url, **given)

        return asyncio.run(send())


# -- one small application of each -----------------------------------------------------------------------------------------


def on_starlette(gate: Callable[..., Any]) -> Any:
    async def make(request: Any) -> Any:
        return {
            "send": starlette.StoredFileResponse,
            "redirect": starlette.StoredFileResponse.redirect,
        }[request.path_params["way"]](stored())

    mounted = starlette.routes(uploads=uploads(), authorize=gate)
    app = Starlette(routes=[Route("/make/{way}", make, methods=["POST", "GET"]), *mounted])
    starlette.install(app)
    return Client(app)


def on_fastapi(gate: Callable[..., Any]) -> Any:
    app = FastAPI()

    @app.post("/make/{way}", response_class=fastapi.StoredFileResponse)
    def make(way: str) -> Any:
        return {"send": fastapi.StoredFileResponse, "redirect": fastapi.StoredFileResponse.redirect}[way](stored())

    app.include_router(fastapi.routes(uploads=uploads(), authorize=gate))
    fastapi.install(app)
    return Client(app)


def on_litestar(gate: Callable[..., Any]) -> Any:
    @post("/make/{way:str}", sync_to_thread=True)
    def make(way: FromPath[str]) -> litestar.StoredFileResponse:
        return {"send": litestar.StoredFileResponse, "redirect": litestar.StoredFileResponse.redirect}[way](stored())

    mounted = litestar.routes(uploads=uploads(), authorize=gate)
    return Client(Litestar([make, mounted], plugins=[litestar.install()]))


def on_flask(gate: Callable[..., Any]) -> Any:
    app = flask.Flask(__name__)

    @app.post("/make/<way>")
    def make(way: str) -> Any:
        return {"send": flask_ext.StoredFileResponse, "redirect": flask_ext.StoredFileResponse.redirect}[way](stored())

    app.register_blueprint(flask_ext.routes(uploads=uploads(), authorize=gate))
    flask_ext.install(app)
    return app.test_client()


APPS = {"starlette": on_starlette, "fastapi": on_fastapi, "litestar": on_litestar, "flask": on_flask}
each = pytest.mark.parametrize("name", APPS)


def request_gate(name: str, answer: object, *, is_async: bool) -> Callable[..., Any]:
    """Return a function of the shape that a framework asks for, which only returns something."""
    if is_async:

        async def later(request: Any = None, handler: Any = None) -> Any:
            return answer

        async def later_without() -> Any:
            return answer

        return later_without if name == "fastapi" else later

    def gate(request: Any = None, handler: Any = None) -> Any:
        return answer

    return (lambda: answer) if name in {"fastapi", "flask"} else gate


def begin(client: Any, content: bytes | None = None, kind: str = "application/json") -> Any:
    body = json.dumps(BEGIN).encode() if content is None else content
    if isinstance(client, FlaskClient):
        return client.post("/uploads/documents/begin", data=body, headers={"content-type": kind})
    return client.post("/uploads/documents/begin", content=body, headers={"content-type": kind})


# -- who may ---------------------------------------------------------------------------------------------------------------


@each
@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_a_gate_that_returns_false_lets_nobody_in(name: str, *, is_async: bool, backend: MemoryBackend) -> None:
    answer = begin(APPS[name](request_gate(name, answer=False, is_async=is_async)))
    assert answer.status_code == 403, answer.text
    assert json.loads(answer.text)["code"] == "not-allowed"
    assert begin(APPS[name](request_gate(name, answer=None, is_async=is_async))).status_code == 200


@pytest.mark.parametrize("name", ["starlette", "litestar", "flask"])
@pytest.mark.parametrize("answer", ["denied", 0, "", 401])
def test_a_gate_that_returns_anything_lets_nobody_in(name: str, answer: object) -> None:
    assert begin(APPS[name](request_gate(name, answer, is_async=False))).status_code == 403


def _coroutine(answer: object) -> Any:
    async def later() -> object:
        return answer

    return later()


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (lambda: 0, 403),
        (lambda: "", 403),
        (lambda: (), 403),
        (lambda: (False, "why"), 403),
        (lambda: PlainTextResponse("pay first", 402), 402),
        (lambda: PlainTextResponse("hello"), 403),
        (lambda: HTTPException(401), 401),
        (lambda: PermissionError("no"), 403),
        (lambda: _coroutine(answer=False), 403),
        (lambda: _coroutine(_coroutine(answer=False)), 403),
        (lambda: _coroutine(answer=None), 200),
        (lambda: {"user": "ann"}, 200),
        (lambda: ("ann", 7), 200),
    ],
)
def test_what_a_dependency_returns_decides_on_fastapi(answer: Callable[[], object], status: int, backend: MemoryBackend) -> None:
    assert begin(on_fastapi(answer)).status_code == status


def test_a_gate_may_return_the_response() -> None:
    assert begin(on_starlette(lambda request: PlainTextResponse("pay first", 402))).status_code == 402
    assert begin(on_flask(lambda: flask.Response("pay first", 402))).status_code == 402


# -- what is asked ---------------------------------------------------------------------------------------------------------


@each
@pytest.mark.parametrize("action", ["begin", "resume", "abort"])
def test_a_request_of_more_than_64_kib_is_refused_with_413(name: str, action: str) -> None:
    client = APPS[name](request_gate(name, None, is_async=False))
    long = b'{"claim": "' + b"x" * LONGEST + b'"}'
    headers = {"content-type": "application/json"}
    given = {"data": long} if name == "flask" else {"content": long}
    assert client.post(f"/uploads/documents/{action}", headers=headers, **given).status_code == 413


@pytest.mark.parametrize("name", ["starlette", "fastapi", "litestar"])
def test_a_request_without_end_is_refused_before_its_end(name: str) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(10_000):
            yield b"[" * 4096
        pytest.fail("all of it was read")

    client = APPS[name](request_gate(name, None, is_async=False))
    answer = client.post("/uploads/documents/begin", headers={"content-type": "application/json"}, content=endless())
    assert answer.status_code == 413


@pytest.mark.parametrize("name", ["starlette", "fastapi", "litestar"])
def test_a_request_that_drips_is_given_up(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload_capacity, "idle", 0.1)

    async def dripping() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b" "
            await asyncio.sleep(0.05)

    client = APPS[name](request_gate(name, None, is_async=False))
    answer = client.post("/uploads/documents/begin", headers={"content-type": "application/json"}, content=dripping())
    assert (answer.status_code, answer.json()["code"]) == (408, "request-too-slow")


@each
@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
def test_a_form_of_another_site_begins_no_upload(name: str, kind: str) -> None:
    client = APPS[name](request_gate(name, None, is_async=False))
    assert begin(client, kind=kind).status_code == 415
    assert begin(client, kind="application/json; charset=utf-8").status_code == 200


CODES: dict[str, tuple[str, bytes, str, int, dict[str, object]]] = {
    "too long": ("documents/begin", b" " * (LONGEST + 1), "application/json", 413,
                 {"code": "request-too-large", "limit": LONGEST, "actual": LONGEST + 1}),
    "a form": ("documents/begin", b"{}", "text/plain", 415, {"code": "request-not-json", "limit": "application/json"}),
    "not JSON": ("documents/begin", b"{", "application/json", 400, {"code": "request-not-json"}),
    "not an object": ("documents/begin", b"[]", "application/json", 422, {"code": "request-invalid"}),
    "no such action": ("documents/end", b"{}", "application/json", 422, {"code": "request-invalid"}),
    "no such uploads": ("nothing/begin", b"{}", "application/json", 404, {"code": "uploads-not-found"}),
    "a long name": ("documents/begin", json.dumps({"filename": "a" * 2000}).encode(), "application/json", 422,
                    {"code": "request-invalid", "field": "filename", "limit": 1024, "actual": 2000}),
    "no size": ("documents/begin", b'{"filename": "a"}', "application/json", 422, {"code": "request-invalid", "field": "size"}),
    "no claim": ("documents/abort", b"{}", "application/json", 422, {"code": "request-invalid", "field": "claim"}),
    "a false claim": ("documents/resume", b'{"claim": "x.y"}', "application/json", 403,
                      {"code": "token-invalid", "field": "file"}),
}  # fmt: skip


@each
@pytest.mark.parametrize("case", CODES)
def test_each_refused_request_has_a_code_to_translate(name: str, case: str) -> None:
    where, body, kind, status, facts = CODES[case]
    client = APPS[name](request_gate(name, None, is_async=False))
    given = {"data": body} if name == "flask" else {"content": body}
    answer = client.post(f"/uploads/{where}", headers={"content-type": kind}, **given)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    problem = json.loads(answer.text)
    assert problem.pop("type").endswith(f"/problems#{facts['code']}")
    assert {key: value for key, value in problem.items() if key not in {"title", "status", "detail"}} == facts


# -- what is answered ------------------------------------------------------------------------------------------------------


@each
def test_a_post_is_answered_with_the_file_that_it_made(name: str) -> None:
    client = APPS[name](request_gate(name, None, is_async=False))
    sent = client.post("/make/send")
    assert (sent.status_code, sent.text) in {(200, "of a handler"), (201, "of a handler")}
    led = client.post("/make/redirect")
    assert led.status_code == 303
    assert led.headers["cache-control"] == "private, no-cache"


# -- empty fields ----------------------------------------------------------------------------------------------------------


def test_empty_field_of_a_form_is_not_a_file() -> None:
    from io import BytesIO

    from starlette.datastructures import UploadFile
    from werkzeug.datastructures import FileStorage

    for upload in (UploadFile(BytesIO(), filename=""), FileStorage(BytesIO(), filename=""), FileStorage(BytesIO())):
        with pytest.raises(FileValidationError, match="left empty"):
            FileObject.from_upload(upload)
        with pytest.raises(FileValidationError, match="left empty"):
            FileObject.from_upload(upload, filename="avatar.png")
        with pytest.raises(FileValidationError, match="left empty"):
            FileObject(content=upload)
    with pytest.raises(FileValidationError, match="a file is needed") as missing:
        FileObject.from_upload(None)  # what FastAPI hands over for a field that may be missing
    assert (missing.value.code, missing.value.status_code) == ("file-missing", 422)
    assert FileObject.from_upload(UploadFile(BytesIO(), filename="empty.txt")).filename == "empty.txt"


class Album(Base):
    __tablename__ = "album"
    id: Mapped[int] = mapped_column(primary_key=True)
    pages: Mapped[FileObjectList] = mapped_column(StoredObject("docs", multiple=True))


MULTIPART = Body(media_type=RequestEncodingType.MULTI_PART)


@dataclass
class OneFile:
    file: FileObject


@dataclass
class PerhapsFiles:
    file: FileObject | None = None
    pages: FileObjectList = field(default_factory=FileObjectList)


def forms_of_starlette() -> Any:
    async def one(request: Any) -> Any:
        async with request.form():
            file = await starlette.Uploaded(request, Document.file)
            return JSONResponse({"named": bool(file.filename)})

    async def perhaps(request: Any) -> Any:
        async with request.form():
            file = await starlette.Uploaded(request, Document.file, optional=True)
            pages = await starlette.Uploaded(request, Album.pages, optional=True)
            return JSONResponse({"none": file is None and not pages})

    async def many(request: Any) -> Any:
        async with request.form():
            return JSONResponse({"none": not await starlette.Uploaded(request, Album.pages)})

    app = Starlette(routes=[Route(f"/{take.__name__}", take, methods=["POST"]) for take in (one, perhaps, many)])
    starlette.install(app)
    return Client(app)


def forms_of_fastapi() -> Any:
    app = FastAPI()

    @app.post("/one")
    def one(file: Annotated[FileObject, fastapi.Uploaded(Document.file)]) -> dict[str, bool]:
        return {"named": bool(file.filename)}

    @app.post("/perhaps")
    def perhaps(
        file: Annotated[FileObject | None, fastapi.Uploaded(Document.file, optional=True)],
        pages: Annotated[FileObjectList, fastapi.Uploaded(Album.pages, optional=True)],
    ) -> dict[str, bool]:
        return {"none": file is None and not pages}

    @app.post("/many")
    def many(pages: Annotated[FileObjectList, fastapi.Uploaded(Album.pages)]) -> dict[str, bool]:
        return {"none": not pages}

    fastapi.install(app)
    return Client(app)


def forms_of_litestar() -> Any:
    @post("/one", status_code=200)
    async def one(data: Annotated[OneFile, MULTIPART]) -> dict[str, bool]:
        return {"named": bool(data.file.filename)}

    @post("/perhaps", status_code=200)
    async def perhaps(data: Annotated[PerhapsFiles, MULTIPART]) -> dict[str, bool]:
        return {"none": data.file is None and not data.pages}

    @post("/bare", status_code=200)
    async def bare(data: Annotated[FileObject, MULTIPART]) -> dict[str, bool]:
        return {"named": bool(data.filename)}

    @post("/bares", status_code=200)
    async def bares(data: Annotated[FileObjectList, MULTIPART]) -> dict[str, bool]:
        return {"none": not data}

    return Client(Litestar([one, perhaps, bare, bares], plugins=[litestar.install()]))


def forms_of_flask() -> Any:
    app = flask.Flask(__name__)
    flask_ext.install(app)

    @app.post("/one")
    def one() -> dict[str, bool]:
        return {"named": bool(flask_ext.Uploaded(Document.file).filename)}

    @app.post("/perhaps")
    def perhaps() -> dict[str, bool]:
        file, pages = flask_ext.Uploaded(Document.file, optional=True), flask_ext.Uploaded(Album.pages, optional=True)
        return {"none": file is None and not pages}

    @app.post("/many")
    def many() -> dict[str, bool]:
        return {"none": not flask_ext.Uploaded(Album.pages)}

    return Client(httpx.WSGITransport(app))


FORMS = {"starlette": forms_of_starlette, "fastapi": forms_of_fastapi, "litestar": forms_of_litestar, "flask": forms_of_flask}
NEEDED = 'a form with files needs enctype="multipart/form-data"'
WAYS = {
    "starlette": ["one", "many", "perhaps"],
    "fastapi": ["one", "many", "perhaps"],
    "litestar": ["one", "perhaps", "bare", "bares"],
    "flask": ["one", "many", "perhaps"],
}


@pytest.mark.parametrize(("name", "way"), [(name, way) for name, ways in WAYS.items() for way in ways])
def test_a_forgotten_enctype_is_named(name: str, way: str) -> None:
    answer = FORMS[name]().post(f"/{way}", data={"file": "cat.png", "pages": "a.png"})
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    assert answer.json()["code"] == "form-without-files"
    assert NEEDED in answer.json()["detail"]


@pytest.mark.parametrize(("name", "way"), [(name, way) for name, ways in WAYS.items() for way in ways if way != "perhaps"])
def test_forgotten_enctype_is_named_for_every_form(name: str, way: str) -> None:
    for data in ({"file": "", "pages": ""}, {"other": "1"}):
        answer = FORMS[name]().post(f"/{way}", data=data)
        assert (answer.status_code, answer.json()["code"]) == (422, "form-without-files"), answer.text


@pytest.mark.parametrize("name", FORMS)
def test_a_form_may_have_no_files_where_they_are_optional(name: str) -> None:
    client = FORMS[name]()
    for data in ({"file": ""}, {"other": "1"}):
        answer = client.post("/perhaps", data=data)
        assert (answer.status_code, answer.json()) == (200, {"none": True})
    sent = client.post("/perhaps", files={"file": ("a.txt", b"abc"), "pages": ("b.txt", b"abc")})
    assert (sent.status_code, sent.json()) == (200, {"none": False})


def test_empty_list_without_enctype_is_named_by_fastapi() -> None:
    answer = forms_of_fastapi().post("/perhaps", data={"pages": ""})
    assert (answer.status_code, answer.json()["code"]) == (422, "form-without-files")


@pytest.mark.parametrize("name", FORMS)
def test_a_form_with_its_enctype_is_taken(name: str) -> None:
    answer = FORMS[name]().post("/one", files={"file": ("a.txt", b"abc")})
    assert answer.status_code == 200, answer.text
