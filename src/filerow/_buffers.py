"""The values that backends exchange with the layers above them: plain, immutable, free of any ORM."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    pass

__all__ = ("BUFFERS", "Buffer")

Buffer: TypeAlias = bytes | bytearray | memoryview
"""One contiguous run of bytes in memory."""

BUFFERS = (bytes, bytearray, memoryview)
