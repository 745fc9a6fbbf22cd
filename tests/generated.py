"""Places of objects, and paths as the library generates them.

A path is ``{table}/{column}/{UUIDv7 in hex}{extension}``, with the shard before the last part.
"""

from __future__ import annotations

import secrets
import time
from typing import NamedTuple


class Located(NamedTuple):
    """Where one object is."""

    backend: str
    path: str


def token(age: float = 0.0) -> str:
    """Return a UUIDv7 (RFC 9562) in hex, as made ``age`` seconds ago."""
    milliseconds = int((time.time() - age) * 1000)
    return f"{milliseconds:012x}7{secrets.token_hex(2)[1:]}{secrets.choice('89ab')}{secrets.token_hex(8)[1:]}"


def generated(table: str, column: str, extension: str = "", *, age: float = 0.0, shards: int = 0) -> str:
    """Return a path as generated ``age`` seconds ago.

    Args:
        table: Name of the table.
        column: Name of the column.
        extension: With its dot.
        age: Seconds.
        shards: How many folders the column spreads its files over, at most 16; 0 for none.
    """
    name = token(age)
    shard = f"{int(name[-8:], 16) % shards:x}/" if shards > 1 else ""
    return f"{table}/{column}/{shard}{name}{extension}"
