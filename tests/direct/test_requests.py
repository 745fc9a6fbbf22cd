"""What is refused before anything is uploaded, and what ``handle`` makes of whatever a client sends."""

from __future__ import annotations

import asyncio
import json
import re
import struct
from collections.abc import AsyncIterator, Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from filerow import FileObject, Inspection, PathRequest, StoredObject, storages, whole_content
from filerow.backends.memory import MemoryBackend
from filerow.direct import DirectUploads, Ticket
from filerow.exceptions import (
    ClaimError,
    ContentTypeError,
    FilerowError,
    FileTooLargeError,
    FileValidationError,
    ImageDimensionsError,
    SecretError,
    StorageError,
)
from tests.direct.conftest import JPEG, PNG, SECRET, Base, Document, Send, Side, Store, kept
from tests.direct.site import Site
from tests.tokens import said_by

IMAGE = {"filename": "cat.png", "size": len(PNG), "content_type": "image/png"}


def by_year(request: PathRequest) -> str:
    return f"by-year/2026/{request.token}{request.extension}"


def no_cats(head: bytes, facts: Inspection) -> Mapping[str, Any]:
    if b"cat" in head:
        raise FileValidationError("no cats, please")
    return {"checked": facts.content_type}


async def no_dogs(head: bytes, facts: Inspection) -> None:
    if b"dog" in head:
        raise FileValidationError("no dogs, please")


def no_worms(chunks: Iterator[bytes], facts: Inspection) -> None:
    if any(b"worm" in chunk for chunk in chunks):
        raise FileValidationError("no worms, please")


class Strict(Base):
    __tablename__ = "strict"
    id: Mapped[int] = mapped_column(primary_key=True)
    small: Mapped[FileObject | None] = mapped_column(StoredObject("direct", content_types=["image/*"], max_width=15))
    chosen: Mapped[FileObject | None] = mapped_column(StoredObject("direct", path=by_year))
    checked: Mapped[FileObject | None] = mapped_column(StoredObject("direct", validators=[no_cats]))
    scanned: Mapped[FileObject | None] = mapped_column(StoredObject("direct", validators=[whole_content(no_worms)]))
    awaited: Mapped[FileObject | None] = mapped_column(StoredObject("direct", validators=[no_dogs]))
    typed: Mapped[FileObject | None] = mapped_column(StoredObject("direct", content_types=["application/vnd.example"]))
    number: Mapped[int | None]


@pytest.fixture
def backend(site: Site) -> Iterator[MemoryBackend]:
    made = MemoryBackend("direct", base_url=f"{site.url}/files", secret=SECRET)
    storages.register_backend(made)
    yield made
    storages.clear_backends()


def paths(backend: MemoryBackend) -> list[str]:
    return [info.path for info in backend.list() if not info.path.startswith("staged/claims/")]


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"size": 1_000_001}, FileTooLargeError),
        ({"content_type": "text/html"}, ContentTypeError),
        ({"content_type": "image/svg+xml"}, ContentTypeError),
        ({"content_type": None, "filename": "page.html"}, ContentTypeError),
        ({"content_type": "image/png\r\nX: y"}, None),  # no media type at all, so the extension counts
        ({"content_type": "x" * 256}, FileValidationError),
        ({"content_type": 7}, FileValidationError),
        ({"size": -1}, FileValidationError),
        ({"size": True}, FileValidationError),
        ({"size": "100"}, FileValidationError),
        ({"size": 1e3}, FileValidationError),
        ({"size": None}, FileValidationError),
        ({"filename": ""}, FileValidationError),
        ({"filename": None}, FileValidationError),
        ({"filename": "x" * 1025}, FileValidationError),
        ({"filename": ["x"]}, FileValidationError),
        ({"checksum": "sha256:xyz"}, FileValidationError),
        ({"checksum": "md5:" + "0" * 32}, FileValidationError),
        ({"checksum": 1}, FileValidationError),
        ({"filename": "../../etc/passwd\x00\u202e.png"}, None),
    ],
)
def test_an_upload_is_refused_before_it_begins(
    backend: MemoryBackend, side: Side, changed: dict[str, Any], error: type[FilerowError] | None
) -> None:
    uploads = DirectUploads(Document.image, secret=SECRET)
    given = {**IMAGE, **changed}
    if error is None:
        answer = side(uploads, "handle", "begin", given)
        assert answer["headers"]["Content-Type"] == "image/png"
        assert "passwd" not in answer["url"]
        return
    for method, arguments in (("handle", ("begin", given)), ("begin", ())):
        with pytest.raises(error):
            side(uploads, method, *arguments, **({} if arguments else given))


@pytest.mark.parametrize("payload", [None, [], "x", 7, True])
def test_request_that_is_not_an_object_is_refused(backend: MemoryBackend, side: Side, payload: object) -> None:
    for action in ("begin", "resume", "abort"):
        with pytest.raises(FileValidationError, match="a JSON object is needed"):
            side(DirectUploads(Document.image, secret=SECRET), "handle", action, payload)


@pytest.mark.parametrize("claim", [None, 7, [], {}])
def test_claim_that_is_not_text_is_refused(backend: MemoryBackend, side: Side, claim: object) -> None:
    for action in ("resume", "abort"):
        with pytest.raises(ClaimError, match="missing"):
            side(DirectUploads(Document.image, secret=SECRET), "handle", action, {"claim": claim})


def test_an_action_that_there_is_not_is_refused(backend: MemoryBackend, side: Side) -> None:
    with pytest.raises(FileValidationError, match="begin, resume or abort"):
        side(DirectUploads(Document.image, secret=SECRET), "handle", "claim", IMAGE)


def test_a_client_is_answered_in_json(backend: MemoryBackend, side: Side, send: Send) -> None:
    uploads = DirectUploads(Document.image, secret=SECRET)
    answer = json.loads(json.dumps(side(uploads, "handle", "begin", IMAGE)))
    assert set(answer) == set(Ticket._fields)
    assert json.loads(json.dumps(side(uploads, "handle", "resume", {"claim": answer["claim"]})))["claim"] == answer["claim"]
    assert side(uploads, "handle", "abort", {"claim": answer["claim"]}) == {}


def test_a_column_without_a_limit_gets_one(backend: MemoryBackend) -> None:
    uploads = DirectUploads(Document.cover, secret=SECRET)
    uploads.begin(filename="a.png", size=100_000_000)
    with pytest.raises(FileTooLargeError):
        uploads.begin(filename="a.png", size=100_000_001)
    with pytest.raises(FileTooLargeError):
        DirectUploads(Document.cover, secret=SECRET, max_size="1 MB").begin(filename="a.png", size=1_000_001)


def test_only_columns_of_files_have_direct_uploads() -> None:
    assert repr(DirectUploads(Strict.__table__.c.small, secret=SECRET)) == "<DirectUploads for strict.small>"
    for wrong in (Strict.number, Strict, "document.image", None):
        with pytest.raises(TypeError, match="a column of files"):
            DirectUploads(wrong, secret=SECRET)


@pytest.mark.parametrize("seconds", [0, -1, 12 * 3600 + 1])
def test_an_upload_cannot_take_longer_than_a_sweep_waits(seconds: int) -> None:
    with pytest.raises(ValueError, match="1 to 43200"):
        DirectUploads(Document.image, secret=SECRET, expires_in=seconds)


def test_missing_or_short_secret_is_refused_at_once(backend: MemoryBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FILEROW_SECRET", raising=False)
    with pytest.raises(SecretError):
        DirectUploads(Document.image, secret="short")
    with pytest.raises(SecretError, match="direct upload needs a secret"):
        DirectUploads(Document.image).begin(**IMAGE)
    assert DirectUploads(Document.image, development=True).begin(**IMAGE).claim


def test_image_beyond_the_limits_is_refused_with_its_claim(backend: MemoryBackend, side: Side, send: Send) -> None:
    uploads = DirectUploads(Strict.small, secret=SECRET)
    for give in (uploads, FileObject):
        ticket = uploads.begin(**IMAGE)
        assert send(ticket, PNG) == 201
        with pytest.raises(ImageDimensionsError, match="at most 15 wide"):
            if give is uploads:
                side(uploads, "claim", ticket.claim)
            else:
                side(FileObject, "from_claim", ticket.claim, secret=SECRET)
        assert paths(backend) == []


def test_type_the_column_does_not_allow_is_refused_by_its_claim(backend: MemoryBackend, side: Side, send: Send) -> None:
    archive = b"PK\x03\x04" + b"\0" * 60
    ticket = DirectUploads(Strict.typed, secret=SECRET).begin(
        filename="x", size=len(archive), content_type="application/vnd.example"
    )
    assert send(ticket, archive) == 201
    with pytest.raises(ContentTypeError, match=r"only application/vnd\.example is allowed"):
        side(FileObject, "from_claim", ticket.claim, secret=SECRET)
    assert paths(backend) == []


def test_a_column_s_own_path_is_where_the_file_ends(backend: MemoryBackend, side: Side, send: Send, session: Session) -> None:
    uploads = DirectUploads(Strict.chosen, secret=SECRET)
    ticket = uploads.begin(**IMAGE)
    assert "/strict/chosen/" in ticket.url
    assert send(ticket, PNG) == 201
    file = kept(session, side(uploads, "claim", ticket.claim), Strict.chosen)
    assert file.path.startswith("by-year/2026/")
    assert paths(backend) == [file.path]


def test_validators_judge_what_is_stored(backend: MemoryBackend, side: Side, send: Send, session: Session) -> None:
    uploads = DirectUploads(Strict.checked, secret=SECRET)
    good, bad, later = uploads.begin(**IMAGE), uploads.begin(**IMAGE), uploads.begin(**IMAGE)
    cat = PNG[:-3] + b"cat"
    assert [send(good, PNG), send(bad, cat), send(later, PNG)] == [201] * 3
    assert kept(session, side(uploads, "claim", good.claim), Strict.checked).metadata == {"checked": "image/png"}
    for file in (side(uploads, "claim", bad.claim), side(FileObject, "from_claim", bad.claim, secret=SECRET)):
        with pytest.raises(FileValidationError, match="no cats"):
            kept(session, file, Strict.checked)
        session.rollback()
        with pytest.raises(FileValidationError, match="no cats"):
            side(Strict.checked.type, "check", file)
    file = side(FileObject, "from_claim", later.claim, secret=SECRET)
    assert side(Strict.checked.type, "check", file) is file
    assert file.metadata == {"checked": "image/png"}
    said = said_by(later.claim)
    backend.delete(said["path"])
    backend.put(said["path"], cat)  # after the check, whose bytes are those that are stored
    assert kept(session, file, Strict.checked).get_content() == PNG
    with pytest.raises(ClaimError, match="used before"):
        kept(session, side(uploads, "claim", good.claim), Strict.checked)
    assert len(paths(backend)) == 3  # with the refused one, which may be claimed again


async def test_asynchronous_validators_judge_what_was_uploaded(backend: MemoryBackend, send: Send) -> None:
    uploads = DirectUploads(Strict.awaited, secret=SECRET)
    good, bad = uploads.begin(**IMAGE), uploads.begin(**IMAGE)
    assert [await asyncio.to_thread(send, ticket, body) for ticket, body in ((good, PNG), (bad, PNG[:-3] + b"dog"))] == [201] * 2
    assert (await Strict.awaited.type.check_async(await uploads.claim_async(good.claim))).get_content() == PNG
    with pytest.raises(FileValidationError, match="no dogs"):
        await Strict.awaited.type.check_async(await uploads.claim_async(bad.claim))


class CountingReads(MemoryBackend):
    """Counts the reads of parts, each of which is a request to a store that is one.

    Attributes:
        reads: How many bytes each of them asked for.
    """

    reads: tuple[int, ...] = ()

    def _read(self, path: str, start: int, end: int | None) -> bytes:
        self.reads = (*self.reads, (end or start) - start)
        return super()._read(path, start, end)


def test_what_has_another_size_is_not_even_read(side: Side, session: Session) -> None:
    backend = CountingReads("direct", base_url="/files", secret=SECRET)
    storages.register_backend(backend)
    try:
        uploads = DirectUploads(Document.image, secret=SECRET)
        for body in (PNG + b"x", PNG):
            ticket = uploads.begin(**IMAGE)
            backend.put(said_by(ticket.claim)["path"], body)
            if body == PNG:
                assert kept(session, side(uploads, "claim", ticket.claim)).size == len(PNG)
                continue
            with pytest.raises(ClaimError, match="announced with"):
                side(uploads, "claim", ticket.claim)
            assert backend.reads == ()
            assert paths(backend) == []
    finally:
        storages.clear_backends()


class UnreliableBackend(MemoryBackend):
    """Fails to read, or hangs, until it is switched off."""

    trouble: str | None = None

    def _stream(self, path: str, start: int, end: int | None, chunk_size: int) -> Iterator[bytes]:
        if self.trouble == "fails":
            raise ConnectionResetError
        return super()._stream(path, start, end, chunk_size)

    async def _stream_async(self, path: str, start: int, end: int | None, chunk_size: int) -> AsyncIterator[bytes]:
        if self.trouble == "hangs":
            self.reached.set()
            await asyncio.Event().wait()
        for chunk in self._stream(path, start, end, chunk_size):
            yield chunk

    reached: asyncio.Event


@pytest.fixture
def unreliable() -> Iterator[UnreliableBackend]:
    made = UnreliableBackend("direct", base_url="/files", secret=SECRET)
    storages.register_backend(made)
    yield made
    storages.clear_backends()


def test_claim_can_be_tried_again_after_a_failure_of_the_store(
    unreliable: UnreliableBackend, side: Side, session: Session
) -> None:
    uploads = DirectUploads(Document.image, secret=SECRET)
    ticket = uploads.begin(**IMAGE)
    path = said_by(ticket.claim)["path"]
    unreliable.put(path, PNG)
    unreliable.trouble = "fails"
    file = side(uploads, "claim", ticket.claim)
    with pytest.raises(StorageError):
        kept(session, file)
    session.rollback()
    assert paths(unreliable) == [path]
    unreliable.trouble = None
    assert kept(session, file).get_content() == PNG


async def test_a_cancelled_commit_leaves_the_claim_as_it_was(unreliable: UnreliableBackend, tmp_path: Path) -> None:
    engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path / 'db'}")
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    uploads = DirectUploads(Document.image, secret=SECRET)
    ticket = uploads.begin(**IMAGE)
    path = said_by(ticket.claim)["path"]
    unreliable.put(path, PNG)
    unreliable.trouble, unreliable.reached = "hangs", asyncio.Event()
    file = await uploads.claim_async(ticket.claim)
    async with AsyncSession(engine, expire_on_commit=False) as session:
        session.add(Document(image=file))
        task = asyncio.ensure_future(session.commit())
        await unreliable.reached.wait()
        assert len(list(unreliable.list())) == 2  # the mark
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await session.rollback()
        assert [info.path for info in unreliable.list()] == [path]
        unreliable.trouble = None
        session.add(Document(image=file))
        await session.commit()
        assert await file.get_content_async() == PNG
    await engine.dispose()


class Measured(MemoryBackend):
    """Counts the bytes that are read of streams, in chunks of a kilobyte."""

    streamed = 0

    def _stream(self, path: str, start: int, end: int | None, chunk_size: int) -> Iterator[bytes]:
        for chunk in super()._stream(path, start, end, 1 << 10):
            self.streamed += len(chunk)
            yield chunk

    async def _stream_async(self, path: str, start: int, end: int | None, chunk_size: int) -> AsyncIterator[bytes]:
        for chunk in self._stream(path, start, end, chunk_size):
            yield chunk


@pytest.mark.parametrize("whole", [False, True], ids=["plain", "whole"])
def test_grown_upload_is_read_no_further_than_announced(side: Side, session: Session, whole: bool) -> None:
    """Azure binds no length, and the client may write there until its claim expires."""
    backend = Measured("direct", base_url="/files", secret=SECRET)
    storages.register_backend(backend)
    column = Strict.scanned if whole else Document.cover
    try:
        uploads = DirectUploads(column, secret=SECRET)
        ticket = uploads.begin(**IMAGE)
        path = said_by(ticket.claim)["path"]
        backend.put(path, PNG)
        file = side(uploads, "claim", ticket.claim)
        backend.delete(path)
        backend.put(path, PNG + bytes(1 << 20))
        with pytest.raises(ClaimError, match="has more"):
            kept(session, file, column)
        session.rollback()
        assert backend.streamed <= len(PNG) + (1 << 10)
        assert paths(backend) == [path]
    finally:
        storages.clear_backends()


class VanishingUploads(MemoryBackend):
    """Loses an upload when it is looked at, as when another request has just used its claim."""

    def _read(self, path: str, start: int, end: int | None) -> bytes:
        self.delete(path)
        return super()._read(path, start, end)


def test_upload_that_vanishes_during_a_look_was_used_before(side: Side) -> None:
    backend = VanishingUploads("direct", base_url="/files", secret=SECRET)
    storages.register_backend(backend)
    try:
        uploads = DirectUploads(Document.image, secret=SECRET)
        ticket = uploads.begin(**IMAGE)
        backend.put(said_by(ticket.claim)["path"], PNG)
        with pytest.raises(ClaimError, match="used before"):
            side(uploads, "claim", ticket.claim)
    finally:
        storages.clear_backends()


@pytest.mark.parametrize("store", ["local", "s3-put"], indirect=True)
def test_large_upload_gone_before_its_flush_counts_as_used(store: Store, side: Side, session: Session) -> None:
    uploads = DirectUploads(Document.anything, secret=SECRET, s3_method="PUT")
    large = PNG + b"x" * (9 << 20)
    ticket = side(uploads, "begin", filename="cat.png", content_type="image/png", size=len(large))
    path = said_by(ticket.claim)["path"]
    store.backend.put(path, large)
    file = side(uploads, "claim", ticket.claim)
    store.backend.delete(path)
    with pytest.raises(ClaimError, match="used"):
        kept(session, file, Document.anything)
    session.rollback()
    assert (store.paths(), store.marks()) == (set(), set())


def test_names_for_one_type_are_the_same_type(backend: MemoryBackend, side: Side, send: Send) -> None:
    uploads = DirectUploads(Document.anything, secret=SECRET)
    for announced, body, actual in (
        ("image/jpg", JPEG, "image/jpeg"),
        ("application/octet-stream", PNG, "image/png"),
        ("application/vnd.example", b"PK\x03\x04" + b"\0" * 60, "application/zip"),
    ):
        ticket = side(uploads, "begin", filename="x", size=len(body), content_type=announced)
        assert send(ticket, body) == 201
        assert side(uploads, "claim", ticket.claim).content_type == actual


def shipped(name: str) -> str:
    return resources.files("filerow").joinpath("static", name).read_text("utf-8")


def test_the_script_is_small_and_needs_nothing() -> None:
    script = shipped("filerow.js")
    assert len(script.encode()) < 6000
    code = re.sub(r"^ *//.*", "", script, flags=re.MULTILINE)
    assert not re.search(r"\b(import|require|fetch|eval|innerHTML)\b", code)


def test_the_script_has_the_types_that_it_is_shipped_with() -> None:
    script, types = shipped("filerow.js"), shipped("filerow.d.ts")
    made = set(re.findall(r"^export (?:async )?(?:class|function) (\w+)", script, re.MULTILINE))
    assert made == set(re.findall(r"^export declare (?:class|function) (\w+)", types, re.MULTILINE)) == {"UploadError", "upload"}
    taken = {
        name.strip()
        for names in re.findall(r"\{([^{}]*)\} = options;|\{ (retries, delay) \}", script)
        for name in "".join(names).split(",")
    }
    taken |= set(re.findall(r"options\.(\w+)", script))
    interface = types.partition("interface UploadOptions {")[2].partition("\n}")[0]
    assert taken == set(re.findall(r"^  (\w+)\??:", interface, re.MULTILINE))


class Schemas(DeclarativeBase):
    """Two schemas with a table of one name."""


class Public(Schemas):
    __tablename__ = "document"
    __table_args__ = {"schema": "pub"}
    id: Mapped[int] = mapped_column(primary_key=True)
    file: Mapped[FileObject | None] = mapped_column(StoredObject("direct"))


class Private(Schemas):
    __tablename__ = "document"
    __table_args__ = {"schema": "priv"}
    id: Mapped[int] = mapped_column(primary_key=True)
    file: Mapped[FileObject | None] = mapped_column(StoredObject("direct"))


def test_a_claim_is_for_the_column_of_one_schema(backend: MemoryBackend, side: Side, send: Send) -> None:
    public, private = (DirectUploads(one.file, secret=SECRET) for one in (Public, Private))
    ticket = side(public, "begin", **IMAGE)
    assert send(ticket, PNG) == 201
    for what, method, arguments in (
        (private, "claim", (ticket.claim,)),
        (private, "resume", (ticket.claim,)),
        (private, "abort", (ticket.claim,)),
    ):
        with pytest.raises(ClaimError, match=r"for pub\.document\.file, not for priv\.document\.file"):
            side(what, method, *arguments)
    assert side(public, "claim", ticket.claim).get_content() == PNG
    engine = create_engine("sqlite://", execution_options={"schema_translate_map": {"pub": None, "priv": None}})
    Schemas.metadata.tables["pub.document"].create(engine)
    with Session(engine) as session:  # a claim alone is for its own column, too
        with pytest.raises(ClaimError, match=r"for pub\.document\.file, not for priv\.document\.file"):
            kept(session, side(FileObject, "from_claim", ticket.claim, secret=SECRET), Private.file)
        session.rollback()
        assert kept(session, side(FileObject, "from_claim", ticket.claim, secret=SECRET), Public.file).get_content() == PNG
    engine.dispose()


# -- a header that is a long chain -----------------------------------------------------------------------------------------


CHAINS = {
    "jpeg": ("image/jpeg", b"\xff\xd8" + (b"\xff\xe2\x20\x00" + b"x" * 0x1FFE) * 2900),
    "png": ("image/png", PNG[:33] + (struct.pack(">I", 8 << 10) + b"tEXt" + bytes((8 << 10) + 4)) * 2900),
    "gif": ("image/gif", b"GIF89a\x0a\0\x0a\0\0\0\0" + (b"!\xfe" + (b"\xff" + b"x" * 255) * 100 + b"\0") * 900 + b";"),
}


@pytest.mark.parametrize("name", CHAINS)
def test_a_header_of_many_segments_takes_few_requests(site: Site, side: Side, send: Send, name: str) -> None:
    """A chain in a file of 24 MB once made 2,920 of them."""
    backend = CountingReads("direct", base_url=f"{site.url}/files", secret=SECRET)
    storages.register_backend(backend)
    try:
        kind, data = CHAINS[name]
        uploads = DirectUploads(Strict.small, secret=SECRET)
        ticket = side(uploads, "begin", filename=f"a.{name}", size=len(data), content_type=kind)
        assert send(ticket, data) == 201
        with pytest.raises(ImageDimensionsError):
            side(uploads, "claim", ticket.claim)
        assert len(backend.reads) <= 16
        assert sum(backend.reads) <= 2 << 20
    finally:
        storages.clear_backends()
