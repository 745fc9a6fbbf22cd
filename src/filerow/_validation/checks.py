"""Checks a file before it is stored: type, width and height, and validators.

What can be looked at without using it up (bytes, paths, files that seek, uploads) is looked at twice: at the line that assigns,
where an error helps most, and again when it is stored. A stream is looked at when it is stored, by what is read ahead of it.
A validator sees the same content once.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Generator, Iterator
from contextlib import closing, contextmanager
from tempfile import SpooledTemporaryFile
from typing import IO, Any, NamedTuple, cast
from weakref import finalize

from filerow._buffers import Buffer
from filerow._content import ONE_REQUEST, SNIFF_BYTES, Content, FileContent, Meter, Prepared, unawaitable
from filerow._document import Facts, check_metadata
from filerow._execution.threads import aiterate, in_thread
from filerow._media_types import claimed_type
from filerow._validation.images import dimensions
from filerow._validation.rules import Rules
from filerow._validation.types import is_container, resolve_type
from filerow._validation.validators import Inspection, WholeContent, added_by, is_async, name_of, refusals
from filerow._validation.window import ReadAt
from filerow.exceptions import ContentError


class Seen(NamedTuple):
    """What a look at a file found.

    Attributes:
        head: Its first bytes, for its validators.
        facts: What its validators are told.
        sides: Width and height of an image as it is shown.
    """

    head: bytes
    facts: Inspection
    sides: tuple[int, int] | None = None


def examine(head: bytes, read_at: ReadAt, size: int | None, known: Facts, rules: Rules) -> Seen:
    """Check a file's type and, of an image, its width and height.

    Raises:
        ContentTypeError: Its type is not allowed.
        ImageDimensionsError: Its width and height are not, or cannot be read.
    """
    content_type, proven = resolve_type(head, known.content_type, known.filename, read_at, size)
    if rules.content_types:
        rules.check_type(content_type, proven=proven, called=claimed_type(known.content_type, known.filename))
    shown = rules.image_size == "shown"
    found = dimensions(read_at, content_type, size, shown=shown) if rules.looks_at_images else None
    rules.check_dimensions(content_type, found, known.filename)
    width, height = found or (None, None)
    sides = found if shown or found is None else dimensions(read_at, content_type, size)
    told = Inspection(known.filename, content_type, size, width, height, rules.field, known.metadata)
    return Seen(head, told, sides)


class Checks:
    """The checks of one file for one column.

    Args:
        content: Its bytes.
        known: What the client said of it.
        rules: What the column demands.
        meter: Refuses too many bytes while they are put aside.

    Attributes:
        content: The bytes, put aside where a validator had to see all of a stream.
        metadata: The file's, with what the validators added.
        content_type: What the file is; set by the last look.
        sides: Width and height of an image as it is shown, if they were read; likewise.
    """

    def __init__(self, content: Content, known: Facts, rules: Rules, meter: Meter | None = None) -> None:
        self.content = content
        self.metadata = known.metadata
        self.content_type = known.content_type
        self.sides: tuple[int, int] | None = None
        claim = known.content_type or content.content_type or ""
        self._known = known if claim == known.content_type else known._replace(content_type=claim)
        self._rules = rules
        self._meter = meter or Meter(rules, known.filename)

    # -- at the line that assigns --------------------------------------------------------------------------------------

    def at_once(self) -> None:
        """Check what can be seen without using up the content; plain validators run."""
        self._check_known_size()
        if self.content.peekable:
            seen = self._look()
            for validator in self._due(whole=False):
                if not is_async(validator):
                    self._judge(validator, seen)

    # -- when it is stored ---------------------------------------------------------------------------------------------

    def whole(self) -> None:
        """Check the size if it is known, and run validators of the whole content."""
        self._check_known_size()
        scanners = self._due(whole=True)
        if scanners:
            self.content = _put_aside(self.content, self._meter)
            seen = self._look()
            self._ask(seen)
            for scanner in scanners:
                self._scan(scanner, seen)

    async def whole_async(self) -> None:
        """Check the size, where it is known; see :meth:`whole`."""
        self._check_known_size()
        scanners = self._due(whole=True)
        if scanners:
            self.content = await _put_aside_async(self.content, self._meter)
            seen = await in_thread(self._look)
            await self._ask_async(seen)
            for scanner in scanners:
                await self._scan_async(scanner, seen)

    def opened(self, prepared: Prepared) -> None:
        """Check what was read ahead, and run the validators that have not run yet."""
        self._ask(self._look(prepared))

    async def opened_async(self, prepared: Prepared) -> None:
        """Check what was read ahead of the content; see :meth:`opened`."""
        look_needs_reading = self._rules.looks_at_images or is_container(prepared.head)
        seen = await in_thread(self._look, prepared) if look_needs_reading else self._look(prepared)
        await self._ask_async(seen)

    # -- beforehand ----------------------------------------------------------------------------------------------------

    def beforehand(self) -> None:
        """Check size, type, width and height of peekable content that is read later."""
        self._check_known_size()
        self._look()

    # -- all of it, on its own -----------------------------------------------------------------------------------------

    def everything(self) -> None:
        """Check everything now, and put a stream aside for it."""
        self.at_once()
        self.content = _put_aside(self.content, self._meter)
        self.whole()
        self._ask(self._look())

    async def everything_async(self) -> None:
        """Check everything now; see :meth:`everything`."""
        await in_thread(self.at_once)
        self.content = await _put_aside_async(self.content, self._meter)
        await self.whole_async()
        await self._ask_async(await in_thread(self._look))

    # -- steps ---------------------------------------------------------------------------------------------------------

    def _check_known_size(self) -> None:
        if self.content.size is not None:
            self._meter.expect(self.content.size)
            self._rules.check_least(self.content.size, self._known.filename)

    def _look(self, prepared: Prepared | None = None) -> Seen:
        content = self.content
        if content.peekable:
            head = content.peek(0, SNIFF_BYTES) if prepared is None else prepared.head
            seen = examine(head, content.peek, content.size, self._known, self._rules)
        else:
            assert prepared is not None  # noqa: S101 - a stream is looked at by what was read ahead of it
            size = len(prepared.body) if isinstance(prepared.body, Buffer) else content.size if content.ranged else None
            seen = examine(prepared.head, _reader(prepared, content), size, self._known, self._rules)
        self.content_type, self.sides = seen.facts.content_type, seen.sides
        return seen

    def _due(self, *, whole: bool) -> list[Any]:
        """Return the validators that have not seen this content yet."""
        if not self._rules.validators:
            return []
        due = [v for v in self._rules.validators if isinstance(v, WholeContent) is whole]
        return [v for v in due if not any(v is seen and f in {"", self._rules.field} for seen, f in self.content.passed)]

    def _ask(self, seen: Seen) -> None:
        for validator in self._due(whole=False):
            if is_async(validator) or not self._judge(validator, seen):
                raise _unawaitable_validator(validator, self._rules.field)

    async def _ask_async(self, seen: Seen) -> None:
        for validator in self._due(whole=False):
            with refusals(self._rules.field):
                now = self._now(seen)
                verdict = validator(seen.head, now) if is_async(validator) else await in_thread(validator, seen.head, now)
                self._passed(validator, await verdict if inspect.isawaitable(verdict) else verdict)

    def _judge(self, validator: Any, seen: Seen) -> bool:
        """Call a plain validator; return False if it turns out to be asynchronous."""
        with refusals(self._rules.field):
            verdict = validator(seen.head, self._now(seen))
            if inspect.isawaitable(verdict):
                if inspect.iscoroutine(verdict):
                    verdict.close()
                return False
            self._passed(validator, verdict)
        return True

    def _scan(self, scanner: WholeContent[Any, Any], seen: Seen) -> None:
        if is_async(scanner):
            raise _unawaitable_validator(scanner, self._rules.field)
        with refusals(self._rules.field), _chunks_of(self.content) as chunks:
            self._passed(scanner, scanner.call(chunks, self._now(seen)))

    async def _scan_async(self, scanner: WholeContent[Any, Any], seen: Seen) -> None:
        if not is_async(scanner):
            await in_thread(self._scan, scanner, seen)
            return
        with refusals(self._rules.field), _chunks_of(self.content) as chunks:
            verdict = cast("Awaitable[object]", scanner.call(aiterate(chunks), self._now(seen)))
            self._passed(scanner, await verdict)

    def _now(self, seen: Seen) -> Inspection:
        return seen.facts._replace(metadata=self.metadata)

    def _passed(self, validator: object, verdict: object) -> None:
        added = added_by(validator, verdict)
        if added:
            self.metadata = check_metadata({**self.metadata, **added})
        self.content.passed = (*self.content.passed, (validator, self._rules.field))


def _unawaitable_validator(validator: object, field: str) -> ContentError:
    return ContentError(
        f"{field or 'file'}: the validator {name_of(validator)} is asynchronous, which a synchronous session, save() or check() "
        "cannot await; use AsyncSession, save_async() or check_async(), or give the column a plain function"
    )


def _reader(prepared: Prepared, content: Content) -> ReadAt:
    """Return a function that reads what was read ahead, and beyond it if it can."""
    joined: list[Buffer] = []

    def read_at(offset: int, size: int) -> bytes:
        if not joined:  # only images need it
            joined.append(prepared.body if isinstance(prepared.body, Buffer) else b"".join(prepared.held))
        seen = bytes(joined[0][offset : offset + size])
        missing = size - len(seen) if content.ranged and not isinstance(prepared.body, Buffer) else 0
        return seen + content.peek_late(offset + len(seen), missing) if missing else seen

    return read_at


@contextmanager
def _chunks_of(content: Content) -> Generator[Iterator[bytes]]:
    """Yield the bytes of content that was put aside, and close what was opened."""
    chunks = content.chunks()
    assert not isinstance(chunks, AsyncIterator)  # noqa: S101 - _put_aside returns none of these
    with closing(bytes(chunk) for chunk in chunks) as each:
        yield each


# -- streams that must be seen whole ---------------------------------------------------------------------------------------


class _Aside(FileContent):
    """The bytes of a stream, in memory or in a temporary file of this object."""

    def __init__(self, file: IO[bytes], origin: Content) -> None:
        super().__init__(cast("Any", file), rewind=True)
        self.filename, self.content_type, self.passed = origin.filename, origin.content_type, origin.passed
        self.claimed = origin.claimed
        finalize(self, file.close)


def _put_aside(content: Content, meter: Meter) -> Content:
    """Return content that can be seen more than once.

    Raises:
        ContentError: It is asynchronous.
        FileTooLargeError: There is more of it than the column allows.
    """
    if content.peekable:
        return content
    source = content.chunks()
    if isinstance(source, AsyncIterator):
        raise unawaitable()
    file = _spool()
    try:
        for chunk in source:
            meter.expect(file.tell() + len(chunk))
            file.write(chunk)
    except BaseException:
        file.close()
        raise
    return _Aside(file, content)


async def _put_aside_async(content: Content, meter: Meter) -> Content:
    """Return content that can be seen more than once; see :func:`_put_aside`."""
    source = content.chunks_async()
    if source is None or content.peekable:
        return await in_thread(_put_aside, content, meter)
    file = _spool()
    try:
        async for chunk in source:
            meter.expect(file.tell() + len(chunk))
            await in_thread(file.write, chunk)
    except BaseException:
        file.close()
        raise
    return _Aside(file, content)


def _spool() -> IO[bytes]:
    return cast("IO[bytes]", SpooledTemporaryFile(max_size=ONE_REQUEST))
