"""Finds the application: its ``MetaData``, its database, its backends."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import os
import sys
import tomllib
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from operator import attrgetter
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from sqlalchemy import Engine, MetaData, create_engine
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError
from typing_extensions import TypeIs

from filerow._configuration import variable_name
from filerow._orm.references import file_columns
from filerow._registry import VARIABLES, storages
from filerow.cli._values import CannotRunError, hidden

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

_KNOWN = ("app", "url", "setup", "backends", "shared_with")
_FILE = "pyproject.toml"


@dataclass(frozen=True, slots=True)
class Settings:
    """Where to find the application.

    Attributes:
        app: ``package.module:Base``.
        url: A database URL, or ``package.module:engine``.
        setup: ``package.module:function`` to call first, or ``package.module`` to import.
        backends: Backends to register, by key: a URL, or a table of ``url`` and options.
        shared_with: Others that store files in the same places: ``package.module:engine``, a ``MetaData``, or a database URL.
        folders: Where to import from.
        sources: Where each setting came from, by name, for errors.
    """

    app: str | None = None
    url: str | None = None
    setup: str | None = None
    backends: Mapping[str, str | Mapping[str, Any]] = field(default_factory=dict)
    shared_with: tuple[str, ...] = ()
    folders: tuple[Path, ...] = ()
    sources: Mapping[str, str] = field(default_factory=dict)

    def source(self, name: str) -> str:
        """Return where a setting came from."""
        return self.sources.get(name, _spelled(name))


@dataclass(frozen=True, slots=True)
class Application:
    """An application, as maintenance sees it.

    Attributes:
        metadata: Its ``MetaData``.
        engine: The engine of its database.
        has_own_engine: True if the engine is the application's, with its own setup, and not made from a URL for this run.
        also: Others that store files in the same places.
    """

    metadata: MetaData
    engine: Engine | AsyncEngine
    has_own_engine: bool
    also: tuple[MetaData | Engine | AsyncEngine, ...] = ()


# -- settings --------------------------------------------------------------------------------------------------------------


def settings_from(
    folder: Path,
    *,
    app: str | None = None,
    url: str | None = None,
    setup: str | None = None,
    backends: Sequence[str] = (),
    shared_with: Sequence[str] = (),
) -> Settings:
    """Merge options with ``[tool.filerow]`` of the nearest ``pyproject.toml``.

    Raises:
        CannotRunError: The table has an unknown or wrong entry, or a backend is not ``KEY=URL``.
    """
    given = {"app": app, "url": url, "setup": setup}
    file, table = _read_table(folder)
    found: dict[str, Any] = {name: value if value is not None else table.get(name) for name, value in given.items()}
    sources = {name: _source(name, value, file) for name, value in (given | {"shared_with": shared_with or None}).items()}
    named = dict(map(_key_and_url, backends))
    keyed = dict(table.get("backends", {})) | named
    sources |= {f"backend {key}": "--backend" for key in named}
    folders = (folder, file.parent) if file is not None and file.parent != folder else (folder,)
    others = tuple(shared_with or table.get("shared_with", ()))
    return Settings(**found, backends=keyed, shared_with=others, folders=folders, sources=sources)


def _spelled(name: str) -> str:
    """Return an option as it is written on the command line."""
    return f"--{name.replace('_', '-')}"


def _source(name: str, value: object, file: Path | None) -> str:
    if value is None:
        return f"[tool.filerow] {name} in {file}"
    variable = f"FILEROW_{name.upper()}"
    return variable if os.environ.get(variable) == value else _spelled(name)


def _read_table(folder: Path) -> tuple[Path | None, dict[str, Any]]:
    file = next((parent / _FILE for parent in (folder, *folder.parents) if (parent / _FILE).is_file()), None)
    if file is None:
        return None, {}
    try:
        tool = tomllib.loads(file.read_text("utf-8")).get("tool", {})
    except (OSError, ValueError) as error:
        raise CannotRunError(f"{file} cannot be read: {error}") from error
    if not isinstance(tool, dict):
        raise CannotRunError(f"{file}: [tool] must be a table, not {tool!r}")
    table = tool.get("filerow", {})
    if not isinstance(table, dict):
        raise CannotRunError(f'{file}: [tool.filerow] must be a table, not {table!r}; write app = "package.module:Base" in it')
    for name, value in table.items():
        if name not in _KNOWN:
            raise CannotRunError(f"[tool.filerow] in {file} has an unknown entry {name!r}; known are {', '.join(_KNOWN)}")
        if name == "backends" and not (isinstance(value, dict) and all(isinstance(one, str | dict) for one in value.values())):
            raise CannotRunError(f'[tool.filerow] in {file}: backends must be a table such as {{docs = "s3://bucket/"}}')
        if name == "shared_with" and not (isinstance(value, list) and all(isinstance(one, str) for one in value)):
            raise CannotRunError(f'[tool.filerow] in {file}: shared_with must be a list such as ["shop.archive:engine"]')
        if name not in {"backends", "shared_with"} and not isinstance(value, str):
            raise CannotRunError(f"[tool.filerow] in {file}: {name} must be a string")
    return file, table


def _key_and_url(text: str) -> tuple[str, str]:
    key, _, url = text.partition("=")
    if not key or "://" not in url:
        raise CannotRunError(f"--backend must be KEY=URL, such as docs=s3://bucket/prefix, not {hidden(text)!r}")
    return key, url


# -- the application -------------------------------------------------------------------------------------------------------


def find_application(settings: Settings) -> Application:
    """Import the application, register the named backends, find its engine.

    Raises:
        CannotRunError: Something is missing or wrong.
    """
    for folder in reversed(settings.folders):
        if str(folder) not in sys.path:
            sys.path.insert(0, str(folder))
    if settings.setup is not None:
        _set_up(settings.setup, settings.source("setup"))
    if settings.app is None:
        raise CannotRunError(
            "which application? Give --app package.module:Base (a DeclarativeBase, a MetaData, a registry, or a function that "
            'returns one), set FILEROW_APP, or write app = "package.module:Base" under [tool.filerow] in pyproject.toml'
        )
    source = settings.source("app")
    module, metadata = _find_metadata(settings.app, source)
    if not file_columns(metadata):
        tables = ", ".join(sorted(metadata.tables)) or "none"
        raise CannotRunError(
            f"{source} {settings.app}: none of its tables has a file column (StoredObject); its tables: {tables}. Name the "
            "module that imports all models"
        )
    register_backends({key: one for key, one in settings.backends.items() if f"backend {key}" in settings.sources}, environ={})
    # the application may read the same file and variables itself, as by storages.configure_from_toml("pyproject.toml")
    left = {key: one for key, one in settings.backends.items() if not storages.is_registered(key)}
    register_backends(left, environ=os.environ)
    also = tuple(_other(one, settings.source("shared_with")) for one in settings.shared_with)
    engine, is_own = _find_engine(settings, module)
    if any(is_async(one) != is_async(engine) for one in also if not isinstance(one, MetaData)):
        raise CannotRunError(
            f"{settings.source('shared_with')}: engines must all be synchronous or all asynchronous; choose the drivers to fit"
        )
    return Application(metadata, engine, has_own_engine=is_own, also=also)


def _find_engine(settings: Settings, module: ModuleType) -> tuple[Engine | AsyncEngine, bool]:
    """Return the engine, and whether it is the application's own."""
    if settings.url is None:
        return _engine_in(module), True
    if "://" not in settings.url and ":" in settings.url:
        engine = _attribute(settings.url, settings.source("url"))
        if not isinstance(engine, Engine) and not is_async(engine):
            kind = type(engine).__name__
            raise CannotRunError(f"{settings.source('url')} {settings.url} is neither an Engine nor an AsyncEngine, but {kind}")
        return engine, True
    return _engine_for(settings.url, settings.source("url")), False


def _other(name: str, source: str) -> MetaData | Engine | AsyncEngine:
    """Return an engine or ``MetaData`` of others that share the places."""
    if "://" in name:
        return _engine_for(name, source)
    found = _attribute(name, source)
    if isinstance(found, Engine) or is_async(found):
        return found
    metadata = _metadata_of(found)
    if metadata is None:
        raise CannotRunError(f"{source} {name} is neither an engine nor a MetaData, but {type(found).__name__}")
    return metadata


def _set_up(name: str, source: str) -> None:
    if ":" not in name:  # to import it is all, as an application's own module of settings wants
        _module(name, source, "")
        return
    function = _attribute(name, source)
    if not callable(function):
        raise CannotRunError(f"{source} {name} is not a function but {type(function).__name__}")
    try:
        result = function()
        if inspect.iscoroutine(result):
            asyncio.run(result)
    except (Exception, SystemExit) as error:
        raise CannotRunError(f"{source}: {name}() failed:\n{_traceback(error)}") from error


def _find_metadata(name: str, source: str) -> tuple[ModuleType, MetaData]:
    module_name, _, attribute = name.partition(":")
    module = _module(module_name, source, attribute)
    candidates = _candidates(module)
    if not attribute:
        distinct = {id(metadata): metadata for metadata in candidates.values()}
        if len(distinct) == 1:
            return module, next(iter(distinct.values()))
        raise CannotRunError(f"{source} {name} does not name an attribute; write {_choice(module_name, candidates)}")
    try:
        found = attrgetter(attribute)(module)
    except AttributeError as error:
        msg = f"{source}: module {module_name} has no {attribute!r}; write {_choice(module_name, candidates)}"
        raise CannotRunError(msg) from error
    metadata = _metadata_of(found)
    if metadata is None and (inspect.isroutine(found) or isinstance(found, (type, partial))):  # not a web application
        try:
            metadata = _metadata_of(found())
        except (Exception, SystemExit) as error:
            raise CannotRunError(f"{source}: {name}() failed:\n{_traceback(error)}") from error
    if metadata is None:
        raise CannotRunError(
            f"{source} {name} is neither a DeclarativeBase, a MetaData nor a registry, and returns none; write "
            f"{_choice(module_name, candidates)}"
        )
    return module, metadata


def _metadata_of(value: object) -> MetaData | None:
    """Return the ``MetaData`` that an object is or has: a base, a registry, ``db``."""
    found = value if isinstance(value, MetaData) else getattr(value, "metadata", None)
    return found if isinstance(found, MetaData) else None


def _candidates(module: ModuleType) -> dict[str, MetaData]:
    found = {name: _metadata_of(value) for name, value in vars(module).items() if not hasattr(value, "__table__")}
    return {name: metadata for name, metadata in found.items() if metadata is not None and len(metadata.tables) > 0}


def _choice(module: str, candidates: Mapping[str, MetaData]) -> str:
    if not candidates:
        return f"{module}:Base; this module has no DeclarativeBase and no MetaData with tables"
    return " or ".join(f"{module}:{name}" for name in sorted(candidates))


def _module(name: str, source: str, attribute: str = "") -> ModuleType:
    tail = f":{attribute}" if attribute else ""
    if not name:
        raise CannotRunError(f"{source} {tail} does not name a module; write package.module:name")
    dotted = name.removesuffix(".py").replace(os.sep, ".").strip(".")
    if dotted != name:  # a file's name instead of the module's
        raise CannotRunError(f"{source}: no module is named {name!r}; write it as Python imports it: {source} {dotted}{tail}")
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise CannotRunError(f"{source}: importing {name} failed:\n{_traceback(error)}") from error
        raise CannotRunError(
            f"{source}: there is no module {error.name!r} here ({Path.cwd()}) or among the installed packages; go to the "
            "application's folder, or install it"
        ) from error
    except (Exception, SystemExit) as error:
        raise CannotRunError(f"{source}: importing {name} failed:\n{_traceback(error)}") from error


def _attribute(name: str, source: str) -> Any:
    module_name, _, attribute = name.partition(":")
    module = _module(module_name, source, attribute)
    if not attribute:
        raise CannotRunError(f"{source} {name}: name the attribute too: {module_name}:name")
    try:
        return attrgetter(attribute)(module)
    except AttributeError as error:
        raise CannotRunError(f"{source}: module {module_name} has no {attribute!r}") from error


def _traceback(error: BaseException) -> str:
    """Return an error as Python prints it, from the application's code on."""
    frames = error.__traceback__
    while frames is not None and _is_machinery(frames.tb_frame.f_code.co_filename):
        frames = frames.tb_next
    return hidden("".join(traceback.format_exception(type(error), error, frames)).rstrip())


def _is_machinery(file: str) -> bool:
    return file.startswith("<frozen importlib") or file in {__file__, importlib.__file__}


def register_backends(named: Mapping[str, str | Mapping[str, Any]], *, environ: Mapping[str, str]) -> None:
    """Register the backends named here and those of the environment.

    Args:
        named: By key a URL, or a table of ``url`` and options.
        environ: Variables, of which ``FILEROW_BACKENDS__KEY__URL`` and other options add to these and win. Those of a backend
            that is registered already are the application's own.

    Raises:
        CannotRunError: A backend is registered already, or cannot be made.
    """
    variables: dict[str, dict[str, str]] = {}
    for variable, text in environ.items():
        if variable.startswith(VARIABLES) and text:
            variables.setdefault(variable.removeprefix(VARIABLES).partition("__")[0], {})[variable] = text
    for key in storages.registered_backends():
        variables.pop(variable_name(key), None)
    for key, given in named.items():
        _register(key, {key: given}, variables.pop(variable_name(key), {}))
    for name, its in variables.items():
        _register(name.lower(), {}, its)


def _register(key: str, given: Mapping[str, str | Mapping[str, Any]], variables: Mapping[str, str]) -> None:
    one = given.get(key, "")
    shown = ", ".join(variables) or hidden(one if isinstance(one, str) else str(one.get("url", "")))
    if storages.is_registered(key):
        raise CannotRunError(f"the application has registered backend {key!r} itself; leave out --backend {key}=…")
    try:
        storages.configure(given, environ=variables)
    except ImportError as error:
        raise CannotRunError(f"backend {key!r} ({shown}) needs a package that is not installed: {error}") from error
    except Exception as error:
        raise CannotRunError(f"backend {key!r} cannot be made from {shown}: {hidden(str(error))}") from error


# -- engines ---------------------------------------------------------------------------------------------------------------


def _engine_in(module: ModuleType) -> Engine | AsyncEngine:
    found = {name: value for name, value in vars(module).items() if isinstance(value, Engine) or is_async(value)}
    if "engine" in found or len({id(engine) for engine in found.values()}) == 1:
        return found.get("engine") or next(iter(found.values()))
    name = module.__name__
    if found:
        choice = " or ".join(f"--url {name}:{engine}" for engine in sorted(found))
        raise CannotRunError(f"{name} has more than one engine; choose one: {choice}")
    raise CannotRunError(
        "which database? Give --url (a SQLAlchemy URL, or package.module:engine), set FILEROW_URL, write url under "
        f"[tool.filerow] in pyproject.toml, or define exactly one engine in {name}"
    )


def _engine_for(text: str, source: str) -> Engine | AsyncEngine:
    try:
        url = make_url(text)
    except ArgumentError:
        msg = f"{source} is not a database URL; write one such as postgresql+psycopg://user:password@host/name, or module:engine"
        raise CannotRunError(msg) from None
    shown = url.render_as_string(hide_password=True)
    _check_file(url, source)
    try:
        if not url.get_dialect().is_async:
            return create_engine(url, pool_pre_ping=True)  # a watching worker is idle for long
        return _make_async_engine(url, f"{source} {hidden(shown)}")
    except CannotRunError:
        raise
    except NoSuchModuleError as error:
        raise CannotRunError(f"{source} {hidden(shown)}: SQLAlchemy does not know the database {url.drivername!r}") from error
    except ImportError as error:
        raise CannotRunError(
            f"{source} {hidden(shown)}: its driver is not installed ({error}); install it, or name another one: "
            f"{url.get_backend_name()}+driver://…"
        ) from error
    except Exception as error:
        raise CannotRunError(f"{source} {hidden(shown)}: {hidden(str(error))}") from error


def is_async(value: object) -> TypeIs[AsyncEngine]:
    """Return True for an ``AsyncEngine``, whose module may be impossible to import."""
    module = sys.modules.get("sqlalchemy.ext.asyncio")
    return module is not None and isinstance(value, module.AsyncEngine)


def _make_async_engine(url: URL, shown: str) -> AsyncEngine:
    try:
        from sqlalchemy.ext.asyncio import create_async_engine
    except ImportError as error:
        raise CannotRunError(f"{shown}: an asynchronous driver needs greenlet: pip install 'filerow[asyncio]'") from error
    return create_async_engine(url, pool_pre_ping=True)


def _check_file(url: URL, source: str) -> None:
    """Refuse a SQLite file that does not exist, which the driver would create."""
    name = url.database
    if url.get_backend_name() != "sqlite" or not name or name == ":memory:" or name.startswith("file:"):
        return
    if not Path(name).exists():
        raise CannotRunError(f"{source}: there is no SQLite database {Path(name).absolute()}")
