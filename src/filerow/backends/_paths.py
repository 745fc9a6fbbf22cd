"""Which paths a backend accepts: those that every store keeps as they are."""

from __future__ import annotations

import re
from collections.abc import Sequence

from filerow.exceptions import InvalidPathError, StorageError

MAX_PATH_BYTES = 900
"""S3 keys may have 1,024 bytes; the rest is left to a backend's own prefix."""

MAX_DERIVED_BYTES = 960
"""The same for what is derived from an object: its path contains the whole one of that object."""

DERIVED = "_filerow/"

MAX_SEGMENT_BYTES = 200
"""Filesystems take 255 bytes a name; temporary names beside the target need some of them."""

_PLAIN = re.compile(r"(?:[A-Za-z0-9_][A-Za-z0-9_.-]*/)*[A-Za-z0-9_][A-Za-z0-9_.-]*\Z")
# Control characters, C1 controls and the separators of other systems are refused by some stores, rewritten by others.
_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f-\x9f\\]")
STAGING = re.compile(r"#\d+\Z")
"""How temporary names end; the native local store hides such names, and ours gives them to nothing else."""

# On Windows a backslash parts segments too.
_ASTRAY = re.compile(r"(?:^|[/\\])\.\.?(?:[/\\]|\Z)|\x00")


def check_path(path: str, backend: str, operation: str) -> str:
    """Return ``path`` when every backend can store an object under it.

    Raises:
        InvalidPathError: It is absolute, empty, too long, has ``.``/``..``/empty segments, control characters or
            backslashes, or ends like a staging file.
    """
    reason = _reason(path)
    if reason:
        raise InvalidPathError(reason, operation=operation, backend=backend, path=path if isinstance(path, str) else "")
    return path


def check_prefix(prefix: str, backend: str) -> str:
    """Return ``prefix`` when it names a folder (or is empty, for the whole backend)."""
    return check_path(prefix, backend, "list") if prefix else prefix


def check_known_path(path: str, backend: str, operation: str) -> str:
    """Return ``path`` when it may be looked up and deleted.

    This asks less than :func:`check_path`: rows that other libraries wrote have paths that we would not choose.

    Raises:
        InvalidPathError: It is empty, or has ``.`` or ``..`` segments or a NUL.
    """
    if isinstance(path, str) and _PLAIN.match(path):
        return path
    if not isinstance(path, str) or not path or _ASTRAY.search(path):
        reason = "a path is a non-empty string without '.' or '..' segments and without NUL"
        raise InvalidPathError(reason, operation=operation, backend=backend, path=path if isinstance(path, str) else "")
    return path


def are_plain(paths: Sequence[str]) -> bool:
    """Return True if, at a quick look, no path needs :func:`check_known_path`."""
    try:
        return all(paths) and is_plain("/".join(paths))
    except TypeError:  # one is not text
        return False


def is_plain(path: str) -> bool:
    """Return True if, at a quick look, a path does not need :func:`check_known_path`."""
    # whatever sorts after "/" is not empty, and does not begin with "."
    return type(path) is str and path > "/" and "/." not in path and "\\" not in path and "\0" not in path


def part_known(paths: Sequence[str], backend: str) -> tuple[list[str], dict[str, StorageError]]:
    """Separate paths that a driver may delete from others, each with its error."""
    if are_plain(paths):
        return list(paths), {}
    known: list[str] = []
    refused: dict[str, StorageError] = {}
    for path in paths:
        try:
            known.append(check_known_path(path, backend, "delete"))
        except InvalidPathError as error:
            refused[path] = error
    return known, refused


def _reason(path: object) -> str:
    if not isinstance(path, str):
        return f"a path is a string, not {type(path).__name__}"
    is_plain = len(path) <= MAX_SEGMENT_BYTES and _PLAIN.match(path)  # as all generated paths are
    return "" if is_plain else _flaw(path)


def _flaw(path: str) -> str:
    if not path or path.startswith("/") or path.endswith("/"):
        return "a path is relative to its backend, not empty, and neither starts nor ends with '/'"
    if _FORBIDDEN.search(path):
        return "a path has no control characters and no backslashes"
    try:
        encoded = path.encode()
    except UnicodeEncodeError:
        return "a path is valid Unicode; this one has a lone surrogate"
    most = MAX_DERIVED_BYTES if path.startswith(DERIVED) else MAX_PATH_BYTES
    if len(encoded) > most:
        return f"a path has at most {most} bytes; this one has {len(encoded)}"
    for segment in path.split("/"):
        if segment in {"", ".", ".."}:
            return "a path has no empty, '.' or '..' segments"
        if len(segment.encode()) > MAX_SEGMENT_BYTES or STAGING.search(segment):
            return f"a segment of a path has at most {MAX_SEGMENT_BYTES} bytes and does not end with '#' and digits"
    return ""
