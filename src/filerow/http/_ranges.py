"""Range requests: RFC 9110, section 14. Pure."""

from __future__ import annotations

import re
from typing import NamedTuple

__all__ = ("ByteRange", "requested_range")

# A number of more digits is beyond any file, and Python would refuse to read a really long one.
_SPEC = re.compile(r"([0-9]{1,40})-([0-9]{1,40})?|-([0-9]{1,40})")


_MOST = 16
"""Ranges that are looked at; more are a way to make a server work."""


class ByteRange(NamedTuple):
    """The bytes ``[start, end)``."""

    start: int
    end: int


UNSATISFIABLE = ByteRange(0, 0)
"""The range of a request that wants nothing that is there (status 416)."""


def requested_range(value: str | None, size: int) -> ByteRange | None:
    """Return the part of a file that a ``Range`` header asks for.

    Several ranges are answered by the whole file, as a server is free to (section 14.2): nothing that resumes or seeks asks
    for them, and their overlaps are a way to make a server work.

    Args:
        value: The header's value; ``None`` when there is none.
        size: Length of the file in bytes.

    Returns:
        ``None`` for the whole file, also when the header is malformed or its unit is not ``bytes``; `UNSATISFIABLE` when no
        range of it touches the file.
    """
    unit, equals, rest = (value or "").partition("=")
    if not equals or unit.strip().lower() != "bytes":
        return None
    specs = rest.split(",", _MOST)
    if len(specs) > _MOST:
        return None
    matches = [_SPEC.fullmatch(spec.strip(" \t")) for spec in specs if spec.strip(" \t")]
    wanted: list[ByteRange] = []
    for match in matches:
        if match is None or (match[2] and int(match[2]) < int(match[1])):
            return None
        wanted.append(_cut(match, size))
    if not wanted:
        return None
    if not any(start < end for start, end in wanted):
        # The last bytes of an empty file (of any other they are some) are all of it, which no Content-Range can say.
        return None if any(match and match[3] and int(match[3]) for match in matches) else UNSATISFIABLE
    first, *others = wanted
    return None if others else first


def _cut(match: re.Match[str], size: int) -> ByteRange:
    if match[3]:
        return ByteRange(max(0, size - int(match[3])), size)
    start = min(int(match[1]), size)
    return ByteRange(start, size if match[2] is None else min(int(match[2]) + 1, size))
