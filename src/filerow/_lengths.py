"""Whether as many bytes came as there should be: a store, or what lies between, may cut short without a word."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from typing import TYPE_CHECKING

from filerow.exceptions import IntegrityError

if TYPE_CHECKING:
    from filerow._document import Facts

__all__ = ("expect_length", "measured", "measured_async")


def expect_length(
    backend: str, path: str, size: int | None, got: int, start: int = 0, end: int | None = None, operation: str = "read"
) -> None:
    """Check how many bytes came of the range ``[start, end)`` of an object.

    Args:
        backend: The backend's key.
        path: The object's path.
        size: Bytes that the object has, as the row says; ``None`` where it does not say, and then nothing is checked.
        got: Bytes that came.
        start: Where the range begins.
        end: Where it ends; at the object's end when left out.
        operation: For the error.

    Raises:
        IntegrityError: They are fewer, or more.
    """
    if size is None:
        return
    wanted = max((size if end is None else min(end, size)) - start, 0)
    if got != wanted:
        what = f"{wanted} bytes" if not start and wanted == size else f"{wanted} of {size} bytes"
        msg = f"the store gave {got} bytes where the row says {what}; the object is damaged, or was cut short on the way"
        raise IntegrityError(msg, operation=operation, backend=backend, path=path)


def measured(chunks: Iterator[bytes], facts: Facts, start: int, end: int | None) -> Iterator[bytes]:
    """Pass the chunks of a range on, and raise at their end unless they were as many bytes as the row says."""
    got = 0
    try:
        for chunk in chunks:
            got += len(chunk)
            yield chunk
    finally:
        if isinstance(chunks, Generator):
            chunks.close()
    expect_length(facts.backend, facts.path, facts.size, got, start, end)


async def measured_async(chunks: AsyncIterator[bytes], facts: Facts, start: int, end: int | None) -> AsyncIterator[bytes]:
    """Pass the chunks of a range on; see :func:`measured`."""
    got = 0
    try:
        async for chunk in chunks:
            got += len(chunk)
            yield chunk
    finally:
        if isinstance(chunks, AsyncGenerator):
            await chunks.aclose()
    expect_length(facts.backend, facts.path, facts.size, got, start, end)
