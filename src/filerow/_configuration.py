"""Settings of backends, from a mapping, a TOML file and the environment."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filerow.backends._url_options import Setting
from filerow.exceptions import ConfigurationError


@dataclass(slots=True)
class BackendSettings:
    """The settings of one backend.

    Attributes:
        key: Its key.
        place: Where they were read, for errors.
        entries: Each setting by name.
    """

    key: str
    place: str
    entries: dict[str, Setting] = field(default_factory=dict)

    def take(self, name: str, *, otherwise: bool) -> bool:
        """Remove a setting that is true or false, and return it."""
        entry = self.entries.pop(name, None)
        return otherwise if entry is None else bool(entry.checked("bool"))

    def take_url(self) -> str:
        """Remove the URL, and return it.

        What is not a URL is not shown either, since it may be a secret in the wrong place.

        Raises:
            ConfigurationError: There is none, or it is not a URL.
        """
        if "key" in self.entries:
            raise ConfigurationError(f"{self.entries['key'].place}: the key is the name of the table; remove this setting")
        entry = self.entries.pop("url", None)
        if entry is None:
            raise ConfigurationError(f"{self.place}: backend {self.key!r} has no url, such as 's3://bucket/prefix'")
        url = entry.value
        if not isinstance(url, str) and hasattr(url, "unicode_string"):  # one of pydantic's types of URLs
            url = str(url)
        if not isinstance(url, str):
            raise ConfigurationError(f"{entry.place} must be a URL as text, not {type(url).__name__}")
        if "://" not in url or url[0] in "\"'":  # Docker keeps the quotes of a file of variables
            msg = f"{entry.place} is not a URL; write one such as 's3://bucket/prefix' or 'file:///absolute/path'"
            raise ConfigurationError(msg)
        return url


def read_toml(path: str | os.PathLike[str], section: str) -> Mapping[str, Any]:
    """Return a table of a TOML file.

    Raises:
        ConfigurationError: The file is not TOML, or has no such table.
        FileNotFoundError: The file does not exist.
    """
    try:
        found: Any = tomllib.loads(Path(path).read_text("utf-8-sig"))
    except ValueError as error:
        raise ConfigurationError(f"{path} is not TOML: {error}") from None
    done = []
    for name in section.split("."):
        done.append(name)
        if not isinstance(found, Mapping) or name not in found:
            raise ConfigurationError(f"{path} has no table [{'.'.join(done)}]; backends are read from [{section}]")
        found = found[name]
    if not isinstance(found, Mapping):
        raise ConfigurationError(f"{path}: {section} must be a table, not {type(found).__name__}")
    return found


def read_settings(given: object, environ: Mapping[str, str] | None, prefix: str, place: str) -> list[BackendSettings]:
    """Return the settings of all backends.

    Args:
        given: A mapping or a model of pydantic: by key a URL, or a mapping or model with ``url`` and options.
        environ: Variables, which win over ``given``.
        prefix: How the variables begin that count.
        place: Where ``given`` comes from, for errors.

    Raises:
        ConfigurationError: Something has the wrong form.
    """
    found: dict[str, BackendSettings] = {}
    for key, value in _mapping(given, f"{place}: the backends").items():
        if not isinstance(key, str) or not key:
            raise ConfigurationError(f"{place}: the key of a backend must be text, not {type(key).__name__}")
        where = f"{place}: {key}"
        table = value if _is_table(value) else {"url": value}
        entries = {name: Setting(one, f"{where}.{name}") for name, one in _mapping(table, where).items() if one is not None}
        found[key] = BackendSettings(key, place, entries)
    _overlay(found, environ or {}, prefix)
    if not found:
        hint = f" and no variable begins with {prefix}" if environ is not None else ""
        raise ConfigurationError(f"{place}: no backend is named{hint}; name at least one, such as {{'docs': 's3://bucket/docs'}}")
    return list(found.values())


def variable_name(key: str) -> str:
    """Return a backend's key as the names of variables spell it."""
    return key.upper().replace("-", "_")


def _overlay(found: dict[str, BackendSettings], environ: Mapping[str, str], prefix: str) -> None:
    """Let variables add to settings, and win; an empty one counts as unset."""
    known = {variable_name(key): key for key in found}
    for variable, given in environ.items():
        text = given.strip()  # a file of variables often ends in a newline
        if not variable.startswith(prefix) or not text:
            continue
        name, _, option = variable.removeprefix(prefix).partition("__")
        if not name or (variable.endswith("__")):
            raise ConfigurationError(f"{variable} must be {prefix}KEY__URL, {prefix}KEY__OPTION, or {prefix}KEY with a URL")
        meant = [repr(key) for key in found if variable_name(key) == name]
        if len(meant) > 1:
            raise ConfigurationError(f"{variable} could mean the backend {' or '.join(meant)}; give one of them another key")
        key = known.setdefault(name, name.lower())
        settings = found.setdefault(key, BackendSettings(key, f"{prefix}{name}__URL"))
        *tables, last = option.lower().split("__")
        if not tables:
            settings.entries[last or "url"] = Setting(text, variable)
        else:
            _nest(settings, tables, last, Setting(text, variable))


def _nest(settings: BackendSettings, tables: list[str], last: str, setting: Setting) -> None:
    """Put a setting into a table, such as ``CLIENT_OPTIONS__TIMEOUT``."""
    name, *inner = tables
    there = settings.entries.get(name)
    if there is not None and not isinstance(there.value, Mapping):
        raise ConfigurationError(f"{setting.place} needs a table, but {there.place} is none")
    whole: dict[str, Any] = dict(there.value) if there is not None else {}
    table = whole
    for part in inner:
        table[part] = dict(table.get(part) or {})
        table = table[part]
    table[last] = setting.value
    settings.entries[name] = Setting(whole, there.place if there is not None else setting.place)


def _is_table(value: object) -> bool:
    return isinstance(value, Mapping) or hasattr(value, "model_dump")


def _mapping(value: object, where: str) -> Mapping[Any, Any]:
    """Return a mapping, or the fields of a pydantic model that are not None."""
    dump = getattr(value, "model_dump", None)
    found = dump(exclude_none=True) if callable(dump) else value
    if not isinstance(found, Mapping):
        raise ConfigurationError(f"{where} must be a mapping or a pydantic model, not {type(value).__name__}")
    return found
