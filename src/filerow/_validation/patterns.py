"""The media types and patterns that a column names; useless ones are refused."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase

from filerow._media_types import OCTET_STREAM, SVG, by_extension, canonical, known_extension, known_names

_TOP_LEVELS = ("application", "audio", "chemical", "font", "haptics", "image", "message", "model", "multipart", "text", "video")
_PROVEN = frozenset({"audio", "font", "image", "video"})
"""Top levels whose types count only where the bytes prove them."""
_WILDCARDS = frozenset("*?[")
_NO_PART_OF_A_NAME = re.compile(r"[^\w!#$&^.+*?\[\]/-]|/.*/", re.ASCII)
_MEANS_SVG = re.compile(r"svg|\+xml|^[*/]+$")
_UNREGISTERED = ("x-", "x.", "vnd.", "prs.")
"""What names begin with that anybody may give to a type."""


def checked_types(given: Sequence[str]) -> tuple[str, ...]:
    """Return a column's media types and patterns in lower case, by canonical name.

    Raises:
        TypeError: It is one text, where a list of them is meant.
        ValueError: One can match no file.
    """
    if isinstance(given, str):
        raise TypeError(f"content_types is a list of media types; write content_types=[{given!r}]")
    return tuple(dict.fromkeys(_checked(kind) for kind in given))


def means_svg(pattern: str) -> bool:
    """Return True if a pattern names SVG, or takes everything; others do not take it."""
    return fnmatchcase(SVG, pattern) and _MEANS_SVG.search(pattern) is not None


def _checked(kind: object) -> str:
    if not isinstance(kind, str):
        raise ValueError(f"content_types takes media types such as 'image/png' and patterns such as 'image/*', not {kind!r}")  # noqa: TRY004 - as for any other value that is not a media type
    wanted = canonical(kind.strip().lower())
    if _matches_something(wanted):
        return wanted
    msg = f"content_types takes media types such as 'image/png' and patterns such as 'image/*', not {kind!r}"
    better = _suggestion(wanted)
    top, _, rest = wanted.partition("/")
    if better:
        msg += f"; did you mean {better!r}?"
    elif top in _PROVEN and rest:
        msg += f": no file's bytes are recognised as {top}/ of that name"
    raise ValueError(msg)


def _matches_something(wanted: str) -> bool:
    if _NO_PART_OF_A_NAME.search(wanted):
        return False
    top, slash, rest = wanted.partition("/")
    if not slash:
        return bool(_WILDCARDS & set(wanted)) and any(fnmatchcase(name, wanted) for name in known_names())
    tops = [known for known in _TOP_LEVELS if fnmatchcase(known, top)]
    if top == "x" or top.startswith("x-"):  # they are not registered; only a client can use such a name
        return bool(rest)
    if not tops or not rest:
        return False
    if all(known in _PROVEN for known in tops):
        return means_svg(wanted) or any(fnmatchcase(name, wanted) for name in _recognised() - {SVG})
    return bool(_WILDCARDS & set(wanted)) or _meant_by(wanted) is None


def _meant_by(wanted: str) -> str | None:
    """Return the usual name of a type with an unusual one; ``None`` for others."""
    _, _, rest = wanted.partition("/")
    if wanted in known_names() or wanted in _recognised():
        return None
    if rest.startswith("vnd.") and any(name.startswith((f"{wanted}.", f"{wanted}-")) for name in known_names()):
        return f"{wanted}*"
    unregistered = known_extension(f".{rest.removeprefix('x-')}") if rest.startswith("x-") else None
    if rest.startswith(_UNREGISTERED):
        return unregistered if unregistered in _recognised() else None  # bytes prove another name
    if rest in _TOP_LEVELS:
        return f"{rest}/*"
    by_name = known_extension(f".{rest}")
    names = sorted(known_names())
    elsewhere = next((canonical(name) for name in names if name.partition("/")[2] == rest), None)
    return by_name or elsewhere or next((canonical(name) for name in names if _is_slip(wanted, name)), None)


def _is_slip(written: str, name: str) -> bool:
    """Return True if a name is another one with a typing error, or in the plural."""
    start = name.index("/") + 2  # the first letter is hardly ever wrong, and some types differ in it
    if written == f"{name}s" or any(written == name[:place] + name[place - 1 :] for place in range(start, len(name) + 1)):
        return True
    if len(written) == len(name):
        first = next((place for place, (one, other) in enumerate(zip(written, name, strict=True)) if one != other), 0)
        return written == f"{name[:first]}{name[first : first + 2][::-1]}{name[first + 2 :]}"
    return len(written) == len(name) - 1 and any(written == name[:place] + name[place + 1 :] for place in range(start, len(name)))


def _recognised() -> frozenset[str]:
    from filerow._validation.types import recognised  # loaded with the first file, or the first rule of such a type

    return recognised()


def _suggestion(wanted: str) -> str | None:
    """Return what was probably meant."""
    from difflib import get_close_matches

    bare = canonical(wanted.partition(";")[0].strip())
    if bare != wanted and _matches_something(bare):
        return bare
    top, slash, rest = wanted.partition("/")
    if slash and top in _TOP_LEVELS and (meant := _meant_by(wanted)):
        return meant
    if not slash:
        by_name = by_extension(f".{wanted.removeprefix('.')}")
        if by_name != OCTET_STREAM:
            return by_name
        family = get_close_matches(wanted.strip("."), _TOP_LEVELS, n=1)
        return f"{family[0]}/*" if family else None
    if rest == "*":
        family = get_close_matches(top, _TOP_LEVELS, n=1)
        return f"{family[0]}/*" if family else None
    cutoff = 0.9 if rest.startswith("x-") else 0.7  # for which there are many names that differ in little
    near = get_close_matches(wanted, known_names() | _recognised(), n=1, cutoff=cutoff)
    by_name = by_extension(f".{rest}")
    return canonical(near[0]) if near else by_name if by_name != OCTET_STREAM else None
