"""Entry points of the ORM and of HTTP: a hostile string comes in by each, and nothing outside of the root is touched.

Backends are tried by themselves in ``test_traversal``; here it is shown that no entry point goes around their checks.
"""

from __future__ import annotations

import asyncio
import io
import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import pytest
from sqlalchemy import JSON, Column, Engine, Integer, MetaData, String, Table, create_engine, select, text
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from filerow import FileObject, FileObjectList, StoredObject, storages
from filerow.backends.local import LocalBackend
from filerow.direct import DirectUploads
from filerow.exceptions import DocumentError, FilerowError, FileValidationError, InvalidPathError, InvalidTokenError
from filerow.http import accelerate, answer, receive, redirect, serve
from filerow.maintenance import adopt, check, migrate, sweep
from tests.databases import explicit_begin
from tests.http.conftest import read
from tests.security.hostile import INSIDE, SECRET, STRINGS, Store
from tests.tokens import claim_of, said_by, sealed, url_signature

LOCAL = pytest.mark.parametrize("store", ["local"], indirect=True)
MORE = [pytest.param(one, marks=pytest.mark.thorough) for one in ("obstore-local", "fsspec-memory")]
FOLDERS = pytest.mark.parametrize("store", ["local", "fsspec-file", *MORE], indirect=True)
EACH = pytest.mark.parametrize("store", ["local", pytest.param("fsspec-file", marks=pytest.mark.thorough), *MORE], indirect=True)
GENERATED = re.compile(r"document/(file|pages)/[0-9a-f]{32}(\.[a-z0-9]{1,10})?\Z")


class Base(DeclarativeBase):
    pass


class Document(Base):
    __tablename__ = "document"
    id: Mapped[int] = mapped_column(primary_key=True)
    file: Mapped[FileObject | None] = mapped_column(StoredObject("docs"))
    pages: Mapped[FileObjectList] = mapped_column(StoredObject("docs", multiple=True))
    old: Mapped[str | None]


RAW = Table(
    "document",
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("file", JSON),
    Column("pages", JSON),
    Column("old", String),
)


@pytest.fixture
def engine() -> Iterator[Engine]:
    made = create_engine("sqlite://")
    explicit_begin(made)
    Base.metadata.create_all(made)
    yield made
    made.dispose()


def outcome(call: Callable[[], Any]) -> object:
    """Return what a call gives, or its error, which must be one that the library documents."""
    try:
        found = call()
        return list(found) if isinstance(found, Iterator) else found
    except (FilerowError, ValueError, TypeError) as error:
        return error


# -- filenames and chosen paths --------------------------------------------------------------------------------------------


@FOLDERS
def test_a_filename_never_chooses_a_path(store: Store, engine: Engine) -> None:
    uploads = [SimpleNamespace(filename=store.string(name), file=_upload(), content_type="text/plain") for name in STRINGS]
    with Session(engine, expire_on_commit=False) as session:
        session.add_all(
            Document(file=FileObject(filename=upload.filename, content=INSIDE), pages=[FileObject.from_upload(upload)])
            for upload in uploads
        )
        session.commit()
        documents = session.scalars(select(Document)).all()
        for file in (file for one in documents for file in (one.file, *one.pages)):
            assert file is not None
            assert GENERATED.match(file.path)
            assert not set(file.filename) & set("/\\\0\n\u202e")
            assert 0 < len(file.filename.encode()) <= 255
    assert len(store.inside()) == 2 * len(STRINGS)
    store.check()


def _upload() -> Any:
    return io.BytesIO(INSIDE)


@FOLDERS
def test_a_chosen_path_stays_in_the_root(store: Store) -> None:
    stored = 0
    for name in STRINGS:
        found = outcome(lambda name=name: FileObject("docs", to_filename=store.string(name), content=INSIDE).save())  # type: ignore[misc]
        stored += isinstance(found, FileObject)
        assert isinstance(found, FileObject | InvalidPathError), name
    assert len(store.inside()) == stored
    store.check()


@LOCAL
@pytest.mark.parametrize("wrong", [None, b"../canary.txt", 7, Path("../canary.txt"), ["a"]], ids=repr)
def test_a_callable_s_path_must_be_a_text(store: Store, wrong: Any) -> None:
    assert _store_by_callable(wrong) == 0
    assert store.inside() == set()
    store.check()


@FOLDERS
def test_a_callable_s_path_stays_in_the_root(store: Store) -> None:
    rows = _store_by_callable(*map(store.string, STRINGS))
    assert rows == len(store.inside()) > 5
    store.check()


class Own(DeclarativeBase):
    pass


_wanted: list[Any] = [None]


class Chosen(Own):
    __tablename__ = "chosen"
    id: Mapped[int] = mapped_column(primary_key=True)
    file: Mapped[FileObject | None] = mapped_column(StoredObject("docs", path=lambda _: _wanted[0]))


def _store_by_callable(*paths: Any) -> int:
    """Return how many rows were made of files of which a callable chooses the path, each in a transaction of its own."""
    engine = create_engine("sqlite://")
    Own.metadata.create_all(engine)
    try:
        for path in paths:
            _wanted[0] = path
            with Session(engine) as session, suppress(InvalidPathError):
                session.add(Chosen(file=FileObject(filename="a", content=INSIDE)))
                session.commit()
        with engine.connect() as connection:
            return int(connection.execute(text("select count(*) from chosen")).scalar_one())
    finally:
        engine.dispose()


# -- documents ---------------------------------------------------------------------------------------------------------------

DOCUMENTS: dict[str, Callable[[str], dict[str, Any]]] = {
    "ours": lambda path: {"v": 1, "backend": "docs", "path": path, "filename": path, "size": 5, "content_type": "text/plain"},
    "ours_without_a_size": lambda path: {"v": 1, "backend": "docs", "path": path, "filename": path},
    "advanced_alchemy": lambda path: {"backend": "docs", "filename": path, "content_type": "text/plain", "size": 5},
    "sqlalchemy_file": lambda path: {"upload_storage": "docs", "file_id": path, "filename": path, "path": f"docs/{path}"},
}


def uses(file: FileObject, folder: Path) -> Iterator[Callable[[], Any]]:
    """Yield everything that can be done with a file."""
    yield file.get_content
    yield lambda: list(file.stream())
    yield lambda: file.open().read(1000)
    yield file.exists
    yield file.verify
    yield file.copy
    yield lambda: file.download(folder)
    yield lambda: file.download(folder / "name")
    for reply in (serve, redirect, accelerate):
        yield lambda reply=reply: read(reply(file))
    yield lambda: accelerate(file, header="X-Sendfile")
    yield lambda: file.delete(force=True)


async def awaited(file: FileObject) -> list[object]:
    """Do what has an asynchronous form of its own."""
    results: list[object] = []
    for call in (file.get_content_async, file.exists_async, file.verify_async, file.copy_async):
        try:
            results.append(await call())
        except (FilerowError, ValueError) as error:
            results.append(error)
    with suppress(FilerowError):
        await file.delete_async(force=True)
    return results


@EACH
@pytest.mark.parametrize("kind", DOCUMENTS)
def test_a_document_leads_nowhere_else(store: Store, engine: Engine, kind: str, tmp_path: Path) -> None:
    (tmp_path / "downloads").mkdir()
    files: list[FileObject] = []
    for name in STRINGS:
        with suppress(DocumentError):
            files.append(FileObject.from_dict(json.loads(json.dumps(DOCUMENTS[kind](store.string(name))))))

    async def everything() -> list[object]:
        return [result for file in files for result in await awaited(file)]

    assert len(files) >= len(STRINGS) - 1
    store.check(*asyncio.run(everything()))
    store.check(*(outcome(use) for file in files for use in uses(file, tmp_path / "downloads")))
    assert not [path for path in tmp_path.iterdir() if path.name not in {"downloads", "store"}]


@LOCAL
@pytest.mark.parametrize("kind", DOCUMENTS)
def test_a_row_s_document_deletes_nothing_outside(store: Store, engine: Engine, kind: str) -> None:
    rows = [
        {"id": number, "file": DOCUMENTS[kind](store.string(name)), "pages": [DOCUMENTS[kind](store.string(name))]}
        for number, name in enumerate(STRINGS, 1)
        if name not in {"surrogate", "empty"}
    ]
    with engine.begin() as connection:
        connection.execute(RAW.insert(), rows)
    with Session(engine) as session:
        for number, document in enumerate(session.scalars(select(Document)).all()):
            if number % 3 == 0:
                session.delete(document)
            elif number % 3 == 1:
                document.file, document.pages = None, FileObjectList()
            else:
                document.file = FileObject(filename="new", content=INSIDE)
        session.commit()
    assert all(GENERATED.match(path) for path in store.inside())
    store.check()


@LOCAL
@pytest.mark.parametrize("kind", DOCUMENTS)
def test_maintenance_of_hostile_documents_stays_in_the_root(store: Store, engine: Engine, kind: str, tmp_path: Path) -> None:
    storages.register_backend(LocalBackend("new", tmp_path / "new", fsync=False))
    names = [name for name in STRINGS if name not in {"surrogate", "empty"}]
    with engine.begin() as connection:
        connection.execute(RAW.insert(), [{"file": DOCUMENTS[kind](store.string(name)), "pages": []} for name in names])
    said = [
        *check(Base.metadata, engine),
        *sweep(Base.metadata, engine, delete=True, grace=timedelta(0), full=True, take_over=True),
        *adopt(Base.metadata, engine, "document.file"),
        *migrate(Base.metadata, engine, "document.file", to="new"),
    ]
    assert len([finding for progress in said for finding in progress.findings]) > len(names)
    assert [path for path in (tmp_path / "new").rglob("*") if not path.is_dir()] == []
    store.check()


@LOCAL
@pytest.mark.parametrize("strip", [[], ["uploads/"], ["https://cdn.example/media/"]], ids=repr)
def test_hostile_strings_are_adopted_from_within_the_root_only(store: Store, engine: Engine, strip: list[str]) -> None:
    names = [name for name in STRINGS if name != "surrogate"]
    prefix = strip[0] if strip else ""
    with engine.begin() as connection:
        connection.execute(RAW.insert(), [{"old": prefix + store.string(name), "pages": []} for name in names])
    said = list(adopt(Base.metadata, engine, "document.file", source="document.old", strip=strip))
    assert {finding.code for progress in said for finding in progress.findings} <= {
        "missing",
        "url",
        "unreadable",
        "failed",
        "invalid",
    }
    with engine.connect() as connection:
        assert connection.execute(text("select count(*) from document where file is not null")).scalar_one() == 0
    store.check(*said)


# -- claims and direct uploads -------------------------------------------------------------------------------------------------


@LOCAL
def test_a_client_cannot_choose_where_its_upload_goes(store: Store) -> None:
    uploads = DirectUploads(Document.file, secret=SECRET)
    for name in STRINGS:
        string = store.string(name)
        payload = {"filename": string, "size": 5, "content_type": string, "path": string, "marker": string, "backend": "other"}
        try:
            ticket = uploads.handle("begin", payload)
        except FileValidationError:
            continue
        claim = said_by(ticket["claim"])
        assert claim["backend"] == "docs"
        assert GENERATED.match(claim["path"])
        assert re.fullmatch(r"staged/claims/[0-9a-f]{32}", claim["marker"])
        assert re.match(r"/files/docs/document/file/[0-9a-f]{32}(\.[a-z0-9]{1,10})?\?", ticket["url"])
    assert store.inside() == set()
    store.check()


def commit(file: FileObject | object) -> object:
    """Give a file a row, which uses its claim."""
    if not isinstance(file, FileObject):
        return file
    engine = create_engine("sqlite://")
    Document.metadata.create_all(engine)
    try:
        with Session(engine, expire_on_commit=False) as session:
            session.add(Document(file=file))
            session.commit()
    finally:
        engine.dispose()
    return file


@LOCAL
@pytest.mark.parametrize("field", ["path", "marker"])
def test_even_a_claim_of_our_own_leads_nowhere_else(store: Store, field: str) -> None:
    store.backend.put("upload", INSIDE)
    uploads = DirectUploads(Document.file, secret=SECRET)
    for name in STRINGS:
        token = sealed(claim_of(len(INSIDE), **{field: store.string(name)}), SECRET)
        for use in (uploads.claim, uploads.resume, uploads.abort):
            store.check(outcome(lambda use=use, token=token: commit(use(token))))  # type: ignore[misc]
        if not store.backend.exists("upload"):
            store.backend.put("upload", INSIDE)


# -- URLs ------------------------------------------------------------------------------------------------------------------------


@LOCAL
def test_no_url_of_ours_leads_out_of_the_root(store: Store) -> None:
    urls: Any = store.backend.own_urls
    seen: list[bytes]
    for name in STRINGS:
        path, seen = store.string(name), []
        expires = str(int(time.time()) + 60)
        for values in ({"expires": expires}, {"expires": expires, "method": "PUT"}):
            try:  # signed by us, as if whoever signs had believed the path
                signature = url_signature(path, values, SECRET)
            except UnicodeEncodeError:
                signature = "A" * 43
            query = "&".join(f"{name}={quote(value)}" for name, value in {**values, "signature": signature}.items())
            for key in ("docs", "../docs", path):
                for tried in (query, f"expires={expires}&signature={signature[::-1]}"):
                    got = answer("GET", key, path, tried)
                    sent = receive("PUT", key, path, tried, [("content-length", "7")], iter([b"hostile"]))
                    assert got.status in {403, 404}
                    assert sent.status in {201, 403, 404, 409}
                    seen += [read(got), read(sent)]
        store.check(*seen)
    assert urls.verify("GET", "a", f"expires={expires}&signature=" + url_signature("a", {"expires": expires}, SECRET))
    with pytest.raises(InvalidTokenError):
        urls.verify("GET", "a", "")


# -- the routes of the frameworks ------------------------------------------------------------------------------------------------

RAW_PATHS = [
    "/files/docs/../canary.txt",
    "/files/docs/%2e%2e/canary.txt",
    "/files/docs/..%2fcanary.txt",
    "/files/docs/%252e%252e/canary.txt",
    "/files/docs//etc/passwd",
    "/files/docs/..%5ccanary.txt",
    "/files/docs/a%00/../canary.txt",
    "/files/../docs/canary.txt",
    "/files/docs/a%0d%0aX-Evil:%201",
    "/files/..%2f..%2fetc/passwd",
    "/files/docs/%c0%ae%c0%ae/canary.txt",
    "/files/docs/%ff%fe",
]


@pytest.mark.parametrize("framework", ["starlette", "fastapi", "litestar", "flask"])
@LOCAL
def test_no_request_leads_out_of_the_root(store: Store, framework: str) -> None:
    from tests.security.raw_requests import request

    for raw in RAW_PATHS:
        for method in ("GET", "HEAD", "PUT"):
            status, headers, body = request(framework, method, raw, b"expires=9999999999&signature=" + b"A" * 43)
            assert status in {403, 404, 405, 400, 301, 307, 308}, (raw, status)
            assert b"x-evil" not in {name.lower() for name, _ in headers}
            store.check(body)
    assert store.inside() == set()
