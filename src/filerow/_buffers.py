"""What counts as a run of bytes, for content, threads and backends alike."""

from __future__ import annotations

from typing import TypeAlias

Buffer: TypeAlias = bytes | bytearray | memoryview
"""One contiguous run of bytes in memory."""

BUFFERS = (bytes, bytearray, memoryview)
