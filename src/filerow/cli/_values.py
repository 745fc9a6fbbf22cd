"""Parsing of command-line values, and formatting of figures."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import timedelta

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?\s*[smhdw]\s*)+\Z")
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])")
_SHARD = re.compile(r"(\d+)/(\d+)\Z")
_PASSWORD = re.compile(r"(://[^:/?#@\s]*):[^/?#\s]*@")
_SECRET = re.compile(r"([?&;][^=&;\s]*(?:pass|pwd|secret|token|key)[^=&;\s]*)=[^&;\s]*", re.IGNORECASE)
_THOUSAND = 1000


class CannotRunError(Exception):
    """The command cannot run; the message says what is wrong and what to do."""


def duration(text: str) -> timedelta:
    """Parse a time such as ``24h``, ``7d``, ``90m``, ``1h30m``.

    Raises:
        ValueError: It is invalid.
    """
    if not _DURATION.match(text.strip()):
        raise ValueError(f"{text!r} is not a length of time; write 24h, 7d, 90m, 30s or 1h30m")
    return timedelta(seconds=sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text)))


def shard(text: str) -> tuple[int, int]:
    """Parse a share of the work such as ``3/8``: the third of eight.

    Raises:
        ValueError: It is invalid.
    """
    found = _SHARD.match(text)
    if found is None or not 1 <= int(found[1]) <= int(found[2]):
        raise ValueError(f"{text!r} is not a share; write 1/8 to 8/8, one for each of eight workers")
    return int(found[1]), int(found[2])


def named_value(text: str) -> tuple[str, str]:
    """Parse a name and a value such as ``id=3``.

    Raises:
        ValueError: It is invalid.
    """
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise ValueError(f"{text!r} is not a column and its value; write id=3")
    return name, value


def as_size(count: float) -> str:
    """Format a number of bytes: ``12.3 MB``, in powers of 1,000 like disks and bills."""
    if count < _THOUSAND:
        return f"{count:.0f} B"
    for unit in ("kB", "MB", "GB", "TB"):
        count /= _THOUSAND
        if count < _THOUSAND - 0.05:
            return f"{count:.1f} {unit}"
    return f"{count / _THOUSAND:.1f} PB"


def as_age(seconds: float) -> str:
    """Format a length of time by its largest unit: ``3 days``."""
    for unit, name in ((86_400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= unit:
            count = int(seconds // unit)
            return f"{count} {name}{'s' if count > 1 else ''}"
    return f"{seconds:.0f} s"


def plain(text: str) -> str:
    """Return text that is safe to print, with control characters escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def hidden(text: str) -> str:
    """Return text without the passwords and secret options of its URLs."""
    return _SECRET.sub(r"\1=***", _PASSWORD.sub(r"\1:***@", text))


def in_one_line(text: str) -> str:
    """Return a database's message in one line, without the repeated statement."""
    lines: list[str] = []
    for line in text.splitlines():
        if line.startswith("LINE "):
            break
        lines.append(line.strip())
    return " ".join(filter(None, lines))


def resumed(arguments: Sequence[str], cursor: str | None) -> list[str]:
    """Return the arguments to continue a stopped command; passwords are hidden.

    Args:
        arguments: The arguments it was started with.
        cursor: Where to continue; ``None`` if the same command finds that by itself.
    """
    kept: list[str] = []
    waiting = iter(arguments)
    for argument in waiting:
        if argument == "--resume":
            next(waiting, None)
        elif not argument.startswith("--resume="):
            kept.append(hidden(argument))
    return kept if cursor is None else [*kept, "--resume", cursor]
