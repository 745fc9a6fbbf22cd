"""Opens content for a backend: reads its head, and decides whether it is small enough for one request.

Whatever passes is counted and hashed, in bounded memory.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from itertools import chain
from typing import NamedTuple

from filerow._content import ONE_REQUEST, AsyncContent, BytesContent, Content, Meter
from filerow._execution.threads import in_thread
from filerow._validation.rules import SNIFF_BYTES
from filerow.backends._types import Buffer
from filerow.exceptions import ContentError

__all__ = ("Prepared", "prepare", "prepare_async", "unawaitable")

_INLINE_HASH = 64 << 10
"""Up to this many bytes are hashed on the event loop: about as long as a hop to a thread takes."""

Body = Buffer | Iterator[Buffer] | AsyncIterator[Buffer]


class Prepared(NamedTuple):
    """A body ready for a backend.

    Attributes:
        head: Its first bytes, to recognise the type by.
        body: What to store.
        held: The chunks that were read ahead of a stream: all of a small one, the first 5 MiB or so of a large one.
    """

    head: bytes
    body: Body
    held: Sequence[Buffer] = ()


def prepare(content: Content, meter: Meter) -> Prepared:
    """Open content in a thread that may block; see the module.

    Raises:
        ContentError: The content is an asynchronous iterable.
    """
    if isinstance(content, BytesContent):
        return Prepared(bytes(content.data[:SNIFF_BYTES]), meter.feed(content.data))
    source = content.chunks()
    if not isinstance(source, Iterator):
        raise unawaitable()
    first: list[Buffer] = []
    if _gather(source, first, content.size, meter):
        return Prepared(_head(first), meter.feed(b"".join(first)))
    return Prepared(_head(first), map(meter.feed, chain(first, source)), first)


def unawaitable() -> ContentError:
    """Return the error of asynchronous content in a place that cannot await."""
    msg = (
        "this file's content is an asynchronous iterator, which a synchronous session, save() or check() cannot await; "
        "use AsyncSession, save_async() or check_async()"
    )
    return ContentError(msg)


def _gather(source: Iterator[Buffer], into: list[Buffer], size: int | None, meter: Meter) -> bool:
    """Read ahead; say whether that was all. A large file of known size is not held back for it."""
    limit = ONE_REQUEST if size is None or size <= ONE_REQUEST else SNIFF_BYTES
    held = 0
    for chunk in source:
        into.append(chunk)
        held += len(chunk)
        meter.expect(held)
        if held > limit:
            return False
    return True


async def prepare_async(content: Content, meter: Meter) -> Prepared:
    """Open content on the event loop without blocking it; see :func:`prepare`."""
    if isinstance(content, BytesContent) and len(content.data) <= _INLINE_HASH:
        return prepare(content, meter)
    if not isinstance(content, AsyncContent):
        return await in_thread(prepare, content, meter)
    source = content.chunks()
    first: list[Buffer] = []
    held = 0
    async for chunk in source:
        first.append(chunk)
        held += len(chunk)
        meter.expect(held)
        if held > ONE_REQUEST:
            return Prepared(_head(first), _metered(first, source, meter), first)
    return Prepared(_head(first), await in_thread(meter.feed, b"".join(first)))


async def _metered(first: list[Buffer], rest: AsyncIterator[Buffer], meter: Meter) -> AsyncIterator[Buffer]:
    while first:
        yield await _feed(meter, first.pop(0))
    async for chunk in rest:
        yield await _feed(meter, chunk)


async def _feed(meter: Meter, chunk: Buffer) -> Buffer:
    return meter.feed(chunk) if len(chunk) <= _INLINE_HASH else await in_thread(meter.feed, chunk)


def _head(chunks: list[Buffer]) -> bytes:
    head = b""
    for chunk in chunks:
        head += bytes(chunk[: SNIFF_BYTES - len(head)])
        if len(head) >= SNIFF_BYTES:
            break
    return head
