"""Options in a backend's URL: ``s3://bucket?aws_region=eu-west-1&timeout=20``.

An option in the query means what the same argument of :meth:`register_backend` means. What a URL must not carry is refused:
nothing of it is ever dropped.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from filerow.backends._foreign import clean_message

__all__ = ("merged_options", "plain_options", "revealed", "shown_url", "split_url")

_OWN_USERINFO = frozenset({"abfs", "abfss"})
"""Schemes that name a container before the ``@``."""

_TAKE_NO_USERINFO = frozenset({"file", "memory", "s3", "s3a", "gs", "gcs", "az", "azure", "adl", "http", "https"})

_WORDS = {"true": True, "false": False}

_TEXTS = frozenset({"str", "Secret", "Encryption", "Literal"})
"""Types of arguments that take text."""


def shown_url(url: str) -> str:
    """Return a URL without user, password, query and fragment, for messages."""
    return clean_message(url.partition("#")[0])


def split_url(url: str) -> tuple[str, dict[str, str]]:
    """Return a backend's URL without its query, and the options in the query.

    A URL of several filesystems that fsspec chains (``simplecache::s3://…``) is left as it is.

    Raises:
        ValueError: The URL has a user or password that its store does not read, a fragment, or an option twice.
    """
    if "::" in url:
        return url, {}
    parts = urlsplit(url)
    scheme = parts.scheme.lower()
    if "#" in url:
        msg = f"{shown_url(url)!r}: the URL of a backend has no fragment; write %23 for a '#' in a path, a prefix or a value"
        raise ValueError(msg)
    password = scheme in _OWN_USERINFO and ":" in parts.netloc.rpartition("@")[0]
    if "@" in parts.netloc and (scheme in _TAKE_NO_USERINFO or password):
        msg = (
            f"{shown_url(url)!r}: credentials do not go before the host, where logs and errors show them; pass them as "
            "arguments (aws_access_key_id=, account_key=, ...) or set the environment variables of the store"
        )
        raise ValueError(msg)
    if parts.query and scheme in {"http", "https"}:
        msg = f"{shown_url(url)!r}: a store over {scheme} takes no query; pass options as arguments"
        raise ValueError(msg)
    bare, _, query = url.partition("?")
    options: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name in options:
            raise ValueError(f"{shown_url(url)!r} has the option {name!r} twice")
        options[name] = value
    return bare, options


def merged_options(
    cls: Callable[..., Any],
    url: str,
    found: Mapping[str, str],
    given: Mapping[str, Any],
    defaults: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return a URL's options, typed as the class's arguments, and the arguments.

    Args:
        cls: The backend's class.
        url: The URL, for messages.
        found: The options in its query.
        given: The arguments beside it.
        defaults: Defaults of options that the class passes on, for example to fsspec; they show the types.

    Raises:
        TypeError: An argument is unknown.
        ValueError: An option of the query is unknown, has the wrong type, cannot be written in a URL, or is given twice.
    """
    where = shown_url(url)
    if twice := sorted(found.keys() & given.keys()):
        raise ValueError(f"{where!r} has the option {twice[0]!r}, which is also given as an argument; leave one out")
    parameters = inspect.signature(cls).parameters.values()
    named = {one.name: str(one.annotation) for one in parameters if one.kind is inspect.Parameter.KEYWORD_ONLY}
    passes_on = any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters)
    positional = {one.name for one in parameters} - named.keys()
    if not passes_on and (unknown := sorted(given.keys() - named.keys())):
        raise TypeError(f"{where!r}: this backend has no option {unknown[0]!r}; it takes {', '.join(sorted(named))}")
    options = dict(given)
    for name, text in found.items():
        if name in positional or not (name in named or passes_on):
            raise ValueError(f"{where!r}: the URL of this backend has no option {name!r}; it takes {', '.join(sorted(named))}")
        kind = _kind_in(named[name]) if name in named else _kind_of((defaults or {}).get(name))
        if not kind:
            raise ValueError(f"{where!r}: {name!r} cannot be written in a URL; pass it as an argument")
        options[name] = _typed(where, name, text, kind)
    return options


def _kind_in(annotation: str) -> str:
    """Return the kind of value that an argument takes; empty for an object."""
    first = re.split(r"\W", annotation, maxsplit=1)[0]
    return first if first in {"bool", "float", "int"} else "str" if first in _TEXTS else ""


def _kind_of(default: object) -> str:
    return type(default).__name__ if isinstance(default, bool | int | float) else "any"


def _typed(where: str, name: str, text: str, kind: str) -> object:
    if kind == "bool" and text.lower() not in _WORDS:
        raise ValueError(f"{where!r}: {name!r} must be true or false, not {text!r}")
    if kind in {"bool", "any"}:
        return _WORDS.get(text.lower(), text)
    try:
        return {"int": int, "float": float}.get(kind, str)(text)
    except ValueError:
        raise ValueError(f"{where!r}: {name!r} must be a number, not {text!r}") from None


def plain_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options with ``SecretStr`` values in the clear, as clients need them."""
    return {name: revealed(value) for name, value in options.items()}


def revealed(value: Any) -> Any:
    """Return what pydantic's ``SecretStr`` hides; any other value as it is."""
    if isinstance(value, Mapping):
        return plain_options(value)
    reveal = getattr(value, "get_secret_value", None)
    return reveal() if callable(reveal) else value
