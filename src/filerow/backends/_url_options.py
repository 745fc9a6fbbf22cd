"""Options in a backend's URL: ``s3://bucket?aws_region=eu-west-1&timeout=20``.

An option in the query means what the same argument of :meth:`register_backend` means. What a URL must not carry is refused:
nothing of it is ever dropped.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from filerow.backends._foreign import clean_message
from filerow.exceptions import ConfigurationError

_OWN_USERINFO = frozenset({"abfs", "abfss"})
"""Schemes that name a container before the ``@``."""

_TAKE_NO_USERINFO = frozenset({"file", "memory", "s3", "s3a", "gs", "gcs", "az", "azure", "adl", "http", "https"})

_WORDS = {"true": True, "false": False}
_SWITCHES = {**_WORDS, "1": True, "yes": True, "on": True, "0": False, "no": False, "off": False}
"""What an option may be that takes nothing else than true or false."""

_TEXTS = frozenset({"str", "Secret", "Encryption", "Literal"})
"""Types of arguments that take text."""


_NUMBERS: Mapping[str, Callable[[str], object]] = {"int": int, "float": float}


@dataclass(frozen=True, slots=True)
class Setting:
    """An option from a file or the environment, where everything may be text.

    Attributes:
        value: Its value; what pydantic's ``SecretStr`` hides is in the clear. It is never shown.
        place: Where it was written, for errors.
    """

    value: Any = field(repr=False)
    place: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "value", revealed(self.value))

    def checked(self, kind: str) -> Any:
        """Return the value with the type that an argument takes.

        Args:
            kind: ``"bool"``, ``"int"``, ``"float"``, ``"str"``, ``"any"``, or empty for an object that no text can be.

        Raises:
            ConfigurationError: The value is not of this kind.
        """
        value = self.value
        text = isinstance(value, str)
        if kind == "bool":
            value = _SWITCHES.get(value.strip().lower()) if text else value
            return self._expect(isinstance(value, bool), value, "true or false")
        if kind in _NUMBERS:
            try:
                value = _NUMBERS[kind](value) if text else value
            except ValueError:
                value = None
            fits = isinstance(value, int if kind == "int" else int | float) and not isinstance(value, bool)
            return self._expect(fits, value, "a number")
        if kind == "str":
            return self._expect(not isinstance(value, bool | int | float), value, "text")
        if kind == "any":
            return _WORDS.get(value.lower(), value) if text else value
        return self._expect(not text, value, "a table or an object, which text cannot be")

    def _expect(self, fits: bool, value: Any, what: str) -> Any:  # noqa: FBT001
        if not fits:
            raise ConfigurationError(f"{self.place} must be {what}")
        return value


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
        raise ValueError(
            f"{shown_url(url)!r}: credentials do not go before the host, where logs and errors show them; pass them as "
            "arguments (aws_access_key_id=, account_key=, ...) or set the environment variables of the store"
        )
    if parts.query and scheme in {"http", "https"}:
        raise ValueError(f"{shown_url(url)!r}: a store over {scheme} takes no query; pass options as arguments")
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
        msg = f"{where!r}: this backend has no option {unknown[0]!r}; it takes {', '.join(sorted(named))}"
        setting = given[unknown[0]]
        raise ConfigurationError(f"{setting.place}: {msg}") if isinstance(setting, Setting) else TypeError(msg)
    options: dict[str, Any] = {}
    for name, value in given.items():
        if isinstance(value, Setting):
            if name in positional:
                raise ConfigurationError(f"{value.place}: this backend takes no such setting; its url says it")
            kind = _kind_in(named[name]) if name in named else _kind_of((defaults or {}).get(name))
            options[name] = value.checked(kind)
        else:
            options[name] = value
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
    if kind == "bool" and text.lower() not in _SWITCHES:
        raise ValueError(f"{where!r}: {name!r} must be true or false, not {text!r}")
    if kind in {"bool", "any"}:
        return (_SWITCHES if kind == "bool" else _WORDS).get(text.lower(), text)
    try:
        return {"int": int, "float": float}.get(kind, str)(text)
    except ValueError:
        raise ValueError(f"{where!r}: {name!r} must be a number, not {text!r}") from None


def plain_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options with ``SecretStr`` values in the clear, as clients need them."""
    return {name: revealed(value) for name, value in options.items()}


def revealed(value: Any) -> Any:
    """Return what pydantic's ``SecretStr`` or ``SecretBytes`` hides, as text.

    Any other value is returned as it is.
    """
    if isinstance(value, Mapping):
        return plain_options(value)
    reveal = getattr(value, "get_secret_value", None)
    if not callable(reveal):
        return value
    found = reveal()
    return found.decode() if isinstance(found, bytes) else found
