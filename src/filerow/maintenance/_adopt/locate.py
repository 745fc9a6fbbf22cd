"""Finds the object that a string names: a path or a URL; fetches nothing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import unquote

from filerow._orm.ownership import Ref
from filerow._registry import storages

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:|//")
_OF_THE_WEB = re.compile(r"(?:https?:)?//", re.IGNORECASE)


class NoLocationError(ValueError):
    """The string does not name an object that we can know of."""


class Locator:
    """Turns strings into backends and paths.

    Args:
        strip: Prefixes of strings that are not part of paths: ``uploads/``, ``https://cdn.example/media/``; with ``=key``
            appended, the rest is a path in that backend.
        backend: Key of the backend of all others.

    Raises:
        LookupError: The backend after a ``=`` is not registered.
    """

    def __init__(self, strip: Sequence[str], backend: str) -> None:
        self._backend = backend
        mapped = [_mapping(entry, backend) for entry in strip]
        self._prefixes = sorted(mapped, key=lambda one: len(one[0]), reverse=True)  # the longest match counts

    def __call__(self, text: str) -> Ref:
        """Return where the object is.

        Raises:
            NoLocationError: The string is a URL with none of the given prefixes, or nothing is left after the prefix.
        """
        for prefix, key in self._prefixes:
            if text.startswith(prefix) and (prefix.endswith("/") or text[len(prefix) : len(prefix) + 1] in {"", "/"}):
                return _ref(key, _path(text[len(prefix) :]) if _OF_THE_WEB.match(prefix) else text[len(prefix) :])
        if _SCHEME.match(text):
            raise NoLocationError(f"{text!r:.200} is a URL that begins with none of the prefixes to strip; it is not fetched")
        return _ref(self._backend, text)


def _mapping(entry: str, backend: str) -> tuple[str, str]:
    prefix, equals, key = entry.rpartition("=")
    if not equals or "/" in key:  # "=" may also be part of a URL
        prefix, key = entry, backend
    if not prefix:
        raise ValueError(f"strip (--strip) must be a prefix, such as 'uploads/' or 'uploads/=docs', not {entry!r}")
    return prefix, storages.get_backend(key).key


def _path(rest: str) -> str:
    """Return the decoded path of a URL (RFC 3986, section 3)."""
    return unquote(re.split(r"[?#]", rest, maxsplit=1)[0])


def _ref(backend: str, path: str) -> Ref:
    path = path.lstrip("/")
    if not path:
        raise NoLocationError("nothing is left of it that could be a path")
    return Ref(backend, path)
