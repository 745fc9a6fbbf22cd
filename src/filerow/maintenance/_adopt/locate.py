"""Where the file is that a plain string names: a path, or a URL that begins like one we were told. Nothing is fetched."""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import unquote

from filerow._orm.ownership import Ref
from filerow._registry import storages

__all__ = ("Locator", "NoLocationError")

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:|//")
_OF_THE_WEB = re.compile(r"(?:https?:)?//", re.IGNORECASE)


class NoLocationError(ValueError):
    """The string names no object that we could know of."""


class Locator:
    """Turns strings into backends and paths.

    Args:
        strip: What strings begin with and paths do not: ``uploads/``, ``https://cdn.example/media/``; with ``=key`` behind it the
            rest is a path in that backend.
        backend: Key of the backend of all others.

    Raises:
        LookupError: A backend behind a ``=`` is not registered.
    """

    def __init__(self, strip: Sequence[str], backend: str) -> None:
        self._backend = backend
        mapped = [_mapping(entry, backend) for entry in strip]
        self._prefixes = sorted(mapped, key=lambda one: len(one[0]), reverse=True)  # the longest that fits counts

    def __call__(self, text: str) -> Ref:
        """Return where the object is.

        Raises:
            NoLocationError: It is a URL that begins like none of those that were given, or nothing is left of it.
        """
        for prefix, key in self._prefixes:
            if text.startswith(prefix) and (prefix.endswith("/") or text[len(prefix) : len(prefix) + 1] in {"", "/"}):
                return _ref(key, _path(text[len(prefix) :]) if _OF_THE_WEB.match(prefix) else text[len(prefix) :])
        if _SCHEME.match(text):
            msg = f"{text!r:.200} is a URL that begins with none of the prefixes to strip; it is not fetched"
            raise NoLocationError(msg)
        return _ref(self._backend, text)


def _mapping(entry: str, backend: str) -> tuple[str, str]:
    prefix, equals, key = entry.rpartition("=")
    if not equals or "/" in key:  # a "=" may be part of a URL
        prefix, key = entry, backend
    if not prefix:
        msg = f"strip takes what strings begin with, such as 'uploads/' or 'uploads/=docs', not {entry!r}"
        raise ValueError(msg)
    return prefix, storages.get_backend(key).key


def _path(rest: str) -> str:
    """Return the path of a URL (RFC 3986, section 3): without query and fragment, percent-decoded."""
    return unquote(re.split(r"[?#]", rest, maxsplit=1)[0])


def _ref(backend: str, path: str) -> Ref:
    path = path.lstrip("/")
    if not path:
        msg = "nothing is left of it that could be a path"
        raise NoLocationError(msg)
    return Ref(backend, path)
