"""The media types and patterns that a column names: canonical, and refused at the declaration where they can match no file."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from filerow._media_types import OCTET_STREAM, by_extension, canonical, known_names

__all__ = ("checked_types",)

_TOP_LEVELS = ("application", "audio", "chemical", "font", "haptics", "image", "message", "model", "multipart", "text", "video")
_PROVEN = frozenset({"audio", "font", "image", "video"})
"""Top levels whose types count only where the bytes prove them."""
_WILDCARDS = frozenset("*?[")


def checked_types(given: Sequence[str]) -> tuple[str, ...]:
    """Return a column's media types and patterns: in lower case, and each type by its canonical name.

    Raises:
        TypeError: It is one text, where a list of them is meant.
        ValueError: One can match no file.
    """
    if isinstance(given, str):
        msg = f"content_types is a list of media types; write content_types=[{given!r}]"
        raise TypeError(msg)
    return tuple(dict.fromkeys(_checked(kind) for kind in given))


def _checked(kind: object) -> str:
    if not isinstance(kind, str):
        msg = f"content_types takes media types such as 'image/png' and patterns such as 'image/*', not {kind!r}"
        raise ValueError(msg)  # noqa: TRY004 - as for any other value that is not a media type
    wanted = canonical(kind.strip().lower())
    if _matches_something(wanted):
        return wanted
    msg = f"content_types takes media types such as 'image/png' and patterns such as 'image/*', not {kind!r}"
    better = _suggestion(wanted)
    raise ValueError(f"{msg}; did you mean {better!r}?" if better else msg)


def _matches_something(wanted: str) -> bool:
    top, slash, rest = wanted.partition("/")
    if not slash:
        return bool(_WILDCARDS & set(wanted)) and any(fnmatchcase(name, wanted) for name in known_names())
    tops = [known for known in _TOP_LEVELS if fnmatchcase(known, top)]
    if top == "x" or top.startswith("x-"):  # nobody has registered them; only a client can call a file so
        return bool(rest)
    if not tops or not rest:
        return False
    return any(known not in _PROVEN for known in tops) or any(fnmatchcase(name, wanted) for name in _recognised())


def _recognised() -> frozenset[str]:
    from filerow._validation.types import recognised  # loaded with the first file, or the first rule of such a type

    return recognised()


def _suggestion(wanted: str) -> str | None:
    """Return what was probably meant."""
    from difflib import get_close_matches

    top, slash, rest = wanted.partition("/")
    if not slash:
        by_name = by_extension(f".{wanted.removeprefix('.')}")
        if by_name != OCTET_STREAM:
            return by_name
        family = get_close_matches(wanted.strip("."), _TOP_LEVELS, n=1)
        return f"{family[0]}/*" if family else None
    if rest == "*":
        family = get_close_matches(top, _TOP_LEVELS, n=1)
        return f"{family[0]}/*" if family else None
    near = get_close_matches(wanted, known_names() | _recognised(), n=1, cutoff=0.7)
    by_name = by_extension(f".{rest}")
    return canonical(near[0]) if near else by_name if by_name != OCTET_STREAM else None
