"""Checks of the application's own: plain and asynchronous, of the first bytes and of the whole, in every kind of session."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from sqlalchemy.pool import StaticPool

from filerow import FileObject, FileObjectList, Inspection, StoredObject, whole_content
from filerow.exceptions import ContentError, FileTooLargeError, FileValidationError, IntegrityError
from tests.validation.images import png

if TYPE_CHECKING:
    from tests.file.conftest import WatchedBackend

EICAR = b"not really a virus, but its signature: EICAR"
LARGE = 6 << 20  # more than is kept in memory


def model(validators: list[Any], **options: Any) -> Any:
    """Map a class whose file column has these validators."""

    class Base(DeclarativeBase):
        pass

    class Document(Base):
        __tablename__ = "document"
        id: Mapped[int] = mapped_column(primary_key=True)
        file: Mapped[FileObject | None] = mapped_column(StoredObject("docs", validators=validators, **options))
        pages: Mapped[FileObjectList] = mapped_column(StoredObject("docs", multiple=True, validators=validators, **options))

    return Document


class Attach:
    """Commits a new row with a file, in a Session or in an AsyncSession, and returns the file."""

    def __init__(self, *, is_async: bool) -> None:
        self.is_async = is_async

    async def __call__(self, model: Any, content: object, filename: str = "x.txt", **options: Any) -> FileObject:
        file = FileObject(filename=filename, content=content, **options)
        if self.is_async:
            await self._commit_async(model, file)
        else:
            self._commit(model, file)
        return file

    def _commit(self, model: Any, file: FileObject) -> None:
        engine = create_engine("sqlite://")
        try:
            with Session(engine, expire_on_commit=False) as session:
                model.metadata.create_all(session.connection())
                session.add(model(file=file))
                session.commit()
        finally:
            engine.dispose()

    async def _commit_async(self, model: Any, file: FileObject) -> None:
        engine = create_async_engine("sqlite+aiosqlite://", poolclass=StaticPool)
        try:
            async with AsyncSession(engine, expire_on_commit=False) as session:
                await (await session.connection()).run_sync(model.metadata.create_all)
                session.add(model(file=file))
                await session.commit()
        finally:
            await engine.dispose()


@pytest.fixture(params=["sync", "async"])
def attach(request: pytest.FixtureRequest) -> Attach:
    return Attach(is_async=request.param == "async")


# -- what a validator gets, and what may come of it ------------------------------------------------------------------------


async def test_a_validator_gets_the_first_bytes_and_the_facts(attach: Attach) -> None:
    seen: list[tuple[bytes, Inspection]] = []
    document = model([lambda head, facts: seen.append((head, facts))])
    content = png(31, 17) + bytes(10_000)
    await attach(document, content, "cat.png", metadata={"page": 1}, content_type="image/jpeg")
    await attach(document, iter([content[:100], content[100:]]), "cat.png")
    [(head, facts), (again, of_stream)] = seen
    assert head == again == content[:8192]
    assert facts == Inspection("cat.png", "image/png", len(content), 31, 17, "file", {"page": 1})
    assert of_stream == facts._replace(metadata={})
    with pytest.raises(AttributeError):
        facts.size = 5  # type: ignore[misc]


async def test_the_size_of_a_long_stream_is_not_known(attach: Attach) -> None:
    seen: list[int | None] = []
    document = model([lambda head, facts: seen.append(facts.size)])
    await attach(document, (bytes(1 << 20) for _ in range(6)))
    assert seen == [None]


async def plainly(head: bytes, facts: Inspection) -> Mapping[str, Any]:
    await asyncio.sleep(0)
    return {"first": head[:1].decode(), "seen": [*facts.metadata.get("seen", []), "async"]}


def at_once(head: bytes, facts: Inspection) -> Mapping[str, Any]:
    return {"seen": [*facts.metadata.get("seen", []), "plain"]}


async def test_metadata_that_validators_return_is_added_to_the_file(attach: Attach) -> None:
    for content in (b"abc", iter([b"abc"])):
        file = await attach(model([at_once, lambda head, facts: {"length": len(head)}]), content, metadata={"mine": 1})
        assert dict(file.metadata) == {"mine": 1, "seen": ["plain"], "length": 3}


async def test_async_validator_is_awaited_in_an_async_session() -> None:
    engine = create_async_engine("sqlite+aiosqlite://", poolclass=StaticPool)
    document = model([plainly, at_once])
    async with AsyncSession(engine, expire_on_commit=False) as session:
        await (await session.connection()).run_sync(document.metadata.create_all)
        row = document(file=FileObject(content=b"abc"), pages=[FileObject(content=iter([b"xyz"]))])
        session.add(row)
        await session.commit()
        assert dict(row.file.metadata) == {"first": "a", "seen": ["plain", "async"]}  # plain ones run where it is assigned
        assert dict(row.pages[0].metadata) == {"first": "x", "seen": ["async", "plain"]}
        await session.refresh(row)
        assert row.file.metadata["first"] == "a"
    await engine.dispose()


class Checker:
    async def __call__(self, head: bytes, facts: Inspection) -> None:
        pass

    async def check(self, head: bytes, facts: Inspection) -> None:
        pass


@whole_content
async def of_everything(content: AsyncIterator[bytes], facts: Inspection) -> None:
    pass


ASYNCHRONOUS = {
    "function": plainly,
    "object": Checker(),
    "method": Checker().check,
    "partial": functools.partial(plainly),
    "lambda": lambda head, facts: plainly(head, facts._replace(field="")),
    "whole": of_everything,
}


@pytest.mark.parametrize("validator", ASYNCHRONOUS.values(), ids=ASYNCHRONOUS)
@pytest.mark.parametrize("content", [b"abc", [b"abc"]], ids=["bytes", "stream"])
def test_sync_session_says_it_cannot_await_a_validator(validator: Any, content: object, docs: WatchedBackend) -> None:
    engine = create_engine("sqlite://")
    document = model([validator])
    document.metadata.create_all(engine)
    with Session(engine) as session:
        session.add(document(file=FileObject(content=content)))
        with pytest.raises(ContentError, match=r"file: the validator .* is asynchronous.*AsyncSession"):
            session.commit()
    assert docs.puts == []
    with pytest.raises(ContentError, match="check_async"):
        document.file.type.check(b"abc")
    engine.dispose()


# -- refusals --------------------------------------------------------------------------------------------------------------


def refusing(head: bytes, facts: Inspection) -> None:
    raise FileValidationError("no cats", limit="dogs", actual="cat")


def decoding(head: bytes, facts: Inspection) -> None:
    head.decode()


def naming(head: bytes, facts: Inspection) -> None:
    raise FileTooLargeError("too long a name", field="name")


async def test_a_validator_refuses_with_a_message(attach: Attach, docs: WatchedBackend) -> None:
    for content in (b"meow", iter([b"meow"])):
        with pytest.raises(FileValidationError, match="no cats") as refused:
            await attach(model([refusing]), content)
        error = refused.value
        assert (error.field, error.limit, error.actual, error.status_code) == ("file", "dogs", "cat", 422)
    with pytest.raises(FileTooLargeError) as named:
        await attach(model([naming]), b"meow")
    assert (named.value.field, named.value.status_code) == ("name", 413)
    assert docs.puts == []


async def test_a_plain_value_error_is_a_refusal_with_its_own_text(attach: Attach) -> None:
    for content in (b"\xff\xff", iter([b"\xff\xff"])):
        with pytest.raises(FileValidationError, match=r"^file: 'utf-8' codec") as refused:
            await attach(model([decoding]), content)
        assert isinstance(refused.value.__cause__, UnicodeDecodeError)


def broken(head: bytes, facts: Inspection) -> None:
    raise KeyError("a mistake")


def failing(head: bytes, facts: Inspection) -> None:
    raise IntegrityError("not of this file")


@pytest.mark.parametrize(("validator", "error"), [(broken, KeyError), (failing, IntegrityError)])
async def test_an_accident_in_a_validator_is_raised_as_it_is(validator: Any, error: type[Exception], attach: Attach) -> None:
    for content in (b"x", iter([b"x"])):
        with pytest.raises(error):
            await attach(model([validator]), content)


async def test_what_a_validator_may_return_is_said(attach: Attach) -> None:
    with pytest.raises(TypeError, match="returned bool; it returns None, or a mapping"):
        await attach(model([lambda head, facts: True]), b"x")
    with pytest.raises(ValueError, match="JSON"):
        await attach(model([lambda head, facts: {"x": object()}]), b"x")
    with pytest.raises(TypeError, match="not str"):
        StoredObject(validators=["image"])  # type: ignore[list-item]


def test_plain_validator_of_first_bytes_refuses_on_assignment() -> None:
    document = model([refusing, of_everything])
    with pytest.raises(FileValidationError, match="no cats") as refused:
        document(file=FileObject(content=b"meow"))
    assert refused.value.field == "file"
    row = document()
    with pytest.raises(FileValidationError):
        row.pages.append(FileObject(content=b"meow"))
    document(file=FileObject(content=iter([b"meow"])))


# -- once ------------------------------------------------------------------------------------------------------------------


async def test_validators_run_once_for_one_file(attach: Attach) -> None:
    calls: list[str] = []

    def plain(head: bytes, facts: Inspection) -> None:
        calls.append("plain")

    @whole_content
    def whole(content: Iterator[bytes], facts: Inspection) -> None:
        assert b"".join(content) == b"abc"
        calls.append("whole")

    document = model([plain, whole])
    for content in (b"abc", iter([b"abc"])):
        calls.clear()
        await attach(document, content)
        assert sorted(calls) == ["plain", "whole"]
    calls.clear()
    checked = document.file.type.check(iter([b"abc"]))
    row = document(file=checked)
    row.file = checked
    assert sorted(calls) == ["plain", "whole"]
    file = await attach(document, b"abc")
    assert file.size == 3


async def test_checked_file_is_not_checked_again_when_it_is_stored(docs: WatchedBackend) -> None:
    calls: list[str] = []

    @whole_content
    async def scan(content: AsyncIterator[bytes], facts: Inspection) -> Mapping[str, Any]:
        calls.append(facts.filename)
        return {"scanned": sum([len(chunk) async for chunk in content])}

    document = model([scan, plainly])
    engine = create_async_engine("sqlite+aiosqlite://", poolclass=StaticPool)
    async with AsyncSession(engine, expire_on_commit=False) as session:
        await (await session.connection()).run_sync(document.metadata.create_all)
        row = document(file=await document.file.type.check_async(FileObject(filename="a", content=iter([b"abc"]))))
        assert dict(row.file.metadata) == {"scanned": 3, "first": "a", "seen": ["async"]}
        session.add(row)
        await session.commit()
        assert calls == ["a"]
        assert dict(row.file.metadata) == {"scanned": 3, "first": "a", "seen": ["async"]}
        assert row.file.get_content() == b"abc"
    await engine.dispose()


# -- the whole content -----------------------------------------------------------------------------------------------------


@whole_content
def scan(content: Iterator[bytes], facts: Inspection) -> Mapping[str, Any]:
    size, last = 0, b""
    for chunk in content:
        if b"EICAR" in last[-10:] + chunk:
            raise FileValidationError("a virus")
        size, last = size + len(chunk), chunk
    return {"scanned": size}


@whole_content
async def scan_async(content: AsyncIterator[bytes], facts: Inspection) -> Mapping[str, Any]:
    size, last = 0, b""
    async for chunk in content:
        if b"EICAR" in last[-10:] + chunk:
            raise FileValidationError("a virus")
        size, last = size + len(chunk), chunk
    return {"scanned": size}


def sources(data: bytes, folder: Path) -> dict[str, Any]:
    path = folder / "content"
    path.write_bytes(data)
    parts = [data[start : start + 700_000] for start in range(0, len(data), 700_000)]

    async def slowly() -> AsyncIterator[bytes]:
        for part in parts:
            await asyncio.sleep(0)
            yield part

    return {"bytes": data, "path": path, "iterator": iter(parts), "list": parts, "asynchronous": slowly()}


async def test_a_scanner_sees_every_byte_before_one_is_stored(attach: Attach, tmp_path: Path, docs: WatchedBackend) -> None:
    clean, infected = bytes(LARGE), bytes(LARGE) + EICAR
    for scanner in [scan, scan_async] if attach.is_async else [scan]:
        document = model([scanner])
        for kind, content in sources(clean, tmp_path).items():
            if attach.is_async or kind != "asynchronous":
                file = await attach(document, content)
                assert file.metadata["scanned"] == file.size == LARGE
                assert docs.read(file.path) == clean
        docs.puts.clear()
        for kind, content in sources(infected, tmp_path).items():
            if attach.is_async or kind != "asynchronous":
                with pytest.raises(FileValidationError, match="a virus") as refused:
                    await attach(document, content)
                assert refused.value.field == "file"
        assert docs.puts == []


async def test_cheap_rules_come_before_a_scanner(attach: Attach) -> None:
    @whole_content
    def never(content: Iterator[bytes], facts: Inspection) -> None:
        pytest.fail("this file was refused already")

    pulled: list[int] = []

    def endless() -> Iterator[bytes]:
        while True:
            pulled.append(1)
            yield bytes(1000)

    with pytest.raises(FileTooLargeError):
        await attach(model([never], max_size=5000), endless())
    assert len(pulled) == 6
    with pytest.raises(FileValidationError, match=r"only image/\*"):
        await attach(model([never], content_types=["image/*"]), iter([b"text"]))
    with pytest.raises(FileValidationError, match="no cats"):
        await attach(model([never, refusing]), iter([b"text"]))


async def test_a_scanner_may_stop_reading_early(attach: Attach, tmp_path: Path) -> None:
    @whole_content
    def first_only(content: Iterator[bytes], facts: Inspection) -> Mapping[str, Any]:
        return {"first": next(content)[:1].decode()}

    for content in sources(b"abc" * 500_000, tmp_path).values():
        if not hasattr(content, "__aiter__"):
            file = await attach(model([first_only]), content)
            assert (file.metadata["first"], file.size) == ("a", 1_500_000)


async def test_plain_validators_do_not_block_the_event_loop() -> None:
    threads: list[threading.Thread] = []

    @whole_content
    def scanning(content: Iterator[bytes], facts: Inspection) -> None:
        threads.append(threading.current_thread())

    def looking(head: bytes, facts: Inspection) -> None:
        threads.append(threading.current_thread())

    await model([looking, scanning]).file.type.check_async(FileObject(content=iter([b"abc"])))
    await Attach(is_async=True)(model([looking, scanning]), iter([b"abc"]))
    assert len(threads) == 4
    assert threading.main_thread() not in threads


def test_a_marked_validator_can_still_be_called() -> None:
    facts = Inspection("x", "text/plain", 3, None, None, "", {})
    assert scan(iter([b"abc"]), facts) == {"scanned": 3}
