"""Range requests: RFC 9110, section 14. Pure."""

from __future__ import annotations

import re
from typing import NamedTuple

# No file is long enough for more digits, and Python refuses to parse a very long number.
_SPEC = re.compile(r"([0-9]{1,40})-([0-9]{1,40})?|-([0-9]{1,40})")


_MOST = 16
"""Maximum number of ranges that are parsed; more would only make the server work."""


class ByteRange(NamedTuple):
    """The bytes ``[start, end)``."""

    start: int
    end: int


UNSATISFIABLE = ByteRange(0, 0)
"""A range that covers no byte of the file (status 416)."""


def requested_range(value: str | None, size: int) -> ByteRange | None:
    """Return the part of a file that a ``Range`` header asks for.

    Several ranges get the whole file, which a server may send (section 14.2): no client that resumes or seeks asks for
    them, and overlapping ranges could make a server work.

    Args:
        value: The header's value; ``None`` if it is missing.
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
        # An empty file has no last bytes, and Content-Range cannot describe an empty range: send the whole file.
        return None if any(match and match[3] and int(match[3]) for match in matches) else UNSATISFIABLE
    first, *others = wanted
    return None if others else first


def _cut(match: re.Match[str], size: int) -> ByteRange:
    if match[3]:
        return ByteRange(max(0, size - int(match[3])), size)
    start = min(int(match[1]), size)
    return ByteRange(start, size if match[2] is None else min(int(match[2]) + 1, size))
