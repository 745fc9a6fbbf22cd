"""Untrusted bytes as a file that can be read only so often and so far."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeAlias

ReadAt: TypeAlias = Callable[[int, int], bytes]
"""Returns bytes from an offset (first argument), up to a number (second), fewer only at the end of what can be seen."""

_BLOCK = 16 << 10
_FAR = 1 << 62


class Window:
    """What a reader of headers sees of a file.

    Args:
        read_at: Gives bytes of the file.
        size: Its length in bytes, where known.
        most_bytes: Maximum number of bytes it returns.
        most_reads: Maximum number of reads and seeks.
        most_blocks: Maximum number of blocks of 16 KiB it fetches.

    Attributes:
        has_end: The length is known; what is not seen of others may be anything.
    """

    def __init__(
        self, read_at: ReadAt, size: int | None, most_bytes: int = 256 << 10, most_reads: int = 20_000, most_blocks: int = 20_000
    ) -> None:
        self.has_end = size is not None
        self._read_at = read_at
        self._end = _FAR if size is None else size
        self._position = 0
        self._reads = most_reads
        self._bytes = most_bytes
        self._blocks = most_blocks
        self._block = (0, b"")

    def read(self, size: int = -1) -> bytes:
        """Read on from where the last read or seek has ended.

        Raises:
            ValueError: More was read than any honest file needs.
        """
        self._reads -= 1
        self._bytes -= max(size, 0)
        if size < 0 or self._reads < 0 or self._bytes < 0:
            raise _too_long()
        data = b""
        while len(data) < size:
            part = self._from_block(self._position, size - len(data))
            if not part:
                break
            self._position += len(part)
            data += part
        return data

    def read_from(self, offset: int, size: int) -> bytes:
        """Read from an offset; see :meth:`read`."""
        self.seek(offset)
        return self.read(size)

    def _from_block(self, position: int, size: int) -> bytes:
        start, block = self._block
        if not start <= position < start + len(block):
            if not self._blocks:
                raise _too_long()
            self._blocks -= 1
            start = position - position % _BLOCK
            block = self._read_at(start, _BLOCK)
            self._block = start, block
        return block[position - start : position - start + size]

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to an offset, as of a file."""
        self._reads -= 1
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._end}[whence]
        self._position = min(max(0, start + offset), _FAR)
        return self._position

    def tell(self) -> int:
        """Return where the next read begins."""
        return self._position


def _too_long() -> ValueError:
    return ValueError("this header is longer than any honest one")
