"""Where backends are registered by key, once, at startup."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol
from urllib.parse import unquote, urlsplit
from weakref import WeakKeyDictionary

from filerow.backends._sign_request import whole_seconds
from filerow.backends._stored_with import StoredWith, check_kept
from filerow.backends._types import SignRequest
from filerow.backends._url_options import merged_options, shown_url, split_url
from filerow.backends.base import StorageBackend
from filerow.exceptions import BackendExistsError, BackendNotFoundError, ConfigurationError

_OBSTORE_SCHEMES = frozenset({"s3", "s3a", "gs", "az", "abfs", "abfss", "adl", "azure", "http", "https"})

_AT_ONCE = 100
"""URLs that are signed one by one before others get their turn of the event loop."""

_lock = threading.Lock()
if hasattr(os, "register_at_fork"):  # a child could wait forever for a thread that it does not have
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)


class Located(Protocol):
    """A stored file, as far as it matters for signing."""

    @property
    def backend_key(self) -> str:
        """The key of its backend."""
        ...

    @property
    def path(self) -> str:
        """Its path in the backend."""
        ...

    @property
    def _kept(self) -> StorageRegistry | None:
        """The registry that it keeps to, if that is another than the process's."""
        ...

    def _presented(self, request: SignRequest) -> SignRequest:
        """Return a request to read that binds name and type where the store cannot."""
        ...


_in_force: ContextVar[StorageRegistry | None] = ContextVar("filerow_registry", default=None)

VARIABLES = "FILEROW_BACKENDS__"
"""How the names of variables with settings of backends begin."""

AS_IT_IS: AbstractContextManager[object] = nullcontext()
"""A block without another registry; it is entered several times in each commit, so one is made for all."""

others: list[bool] = []
"""Has a member once any registry but the process's own has been in force."""


class StorageRegistry:
    """Backends by key.

    The library uses :data:`storages`, which is the registry of this process, or another one inside a block of its
    :meth:`active`.

    Attributes:
        max_concurrency: How many transfers one flush runs at a time (default 16).
        failed_deletes: How many objects could not be deleted after a commit or rollback since the process started. The path of
            each was logged, and a sweep will delete it.
    """

    def __init__(self) -> None:
        self.max_concurrency = 16
        self.failed_deletes = 0
        self._backends: dict[str, StorageBackend] = {}
        self._default: str | None = None
        self._guests: set[str] = set()

    _expected: ClassVar[WeakKeyDictionary[object, _Expected]] = WeakKeyDictionary()
    """How mapped columns want objects to be stored, in all registries."""

    @contextmanager
    def active(self) -> Generator[StorageRegistry]:
        """Let :data:`storages` be this registry in a block, for one tenant or one test.

        The block is a matter of its own thread or asyncio task, and of what they start. Sessions that begin a transaction's
        first flush in it keep to this registry until that transaction ends; files that are made, loaded or stored in it, forever.
        """
        if not others:
            others.append(True)
        before = _in_force.set(self)
        try:
            yield self
        finally:
            with suppress(ValueError):  # an asynchronous fixture may end in another context, where nothing was set
                _in_force.reset(before)

    def register_backend(self, backend: StorageBackend | str, key: str | None = None, **options: Any) -> StorageBackend:
        """Register a backend.

        Args:
            backend: An instance, or a URL: ``file:///srv/files``, ``memory://``, ``s3://bucket/prefix``, ``gs://…``,
                ``az://…``, or any protocol of fsspec (extra ``filerow[fsspec]``).
            key: The key to register under; required with a URL, and must agree with an instance's own key.
            options: Passed to the backend made from a URL, such as ``aws_endpoint=``. One belongs to the registry:
                ``deletes=False``, for example on a staging system that uses production's bucket. This process then reads
                and stores, but deletes only objects that it stored itself in the same transaction: objects that leave a row
                stay, sweep and drain skip the backend, and ``file.delete()`` is refused.

        Returns:
            The registered backend.

        Raises:
            BackendExistsError: Another backend has this key.
            TypeError: ``backend`` is neither a backend nor a URL, or options were given with a backend.
            UnsupportedOperationError: A column's ``stored_with`` needs what this backend does not support.
            ValueError: The key is missing with a URL, or differs from the instance's.
        """
        deletes = options.pop("deletes", True)
        if not isinstance(deletes, bool):
            raise TypeError(f"deletes must be True or False, not {deletes!r}")
        if isinstance(backend, str):
            if not key:
                raise ValueError(f"register_backend({shown_url(backend)!r}) needs a key: register_backend(url, key='docs')")
            backend = backend_from_url(backend, key, **options)
        elif not isinstance(backend, StorageBackend):
            raise TypeError(_no_backend(backend))
        elif options:
            raise TypeError(f"{', '.join(options)}: options are for URLs; pass them to the backend itself where it is made")
        elif key is not None and key != backend.key:
            msg = f"this backend's own key is {backend.key!r}, which every row stores; it cannot be registered as {key!r}"
            raise ValueError(msg)
        with _lock:
            known = self._backends.get(backend.key)
            if known is not None and known is not backend:
                raise BackendExistsError(
                    f"a backend is registered as {backend.key!r} already ({known!r}); choose another key, or call "
                    f"storages.unregister_backend({backend.key!r}) first"
                )
            for expected in [one for one in self._expected.values() if one.key == backend.key]:
                check_kept(backend, expected.stored_with, expected.column)
            self._backends[backend.key] = backend
            (self._guests.discard if deletes else self._guests.add)(backend.key)
        return backend

    def configure(
        self,
        backends: Mapping[str, Any] | object | None = None,
        *,
        environ: Mapping[str, str] | None = None,
        prefix: str = VARIABLES,
    ) -> dict[str, StorageBackend]:
        """Register backends from settings: all of them, or none if one is wrong.

        Args:
            backends: By key a URL, or a mapping with ``url`` and the options of that kind of backend, ``deletes`` and
                ``default`` (this backend is the default one). Text counts as the number or the true or false that an
                option takes, and ``None`` as not given. A model of pydantic may stand for each mapping, and ``SecretStr``
                for text.
            environ: Variables such as ``os.environ``, which add to ``backends`` and win: ``FILEROW_BACKENDS__DOCS__URL``,
                ``FILEROW_BACKENDS__DOCS__AWS_REGION``, or ``FILEROW_BACKENDS__DOCS`` for the URL alone.
            prefix: How their names begin.

        Returns:
            The registered backends by key.

        Raises:
            BackendExistsError: Another backend has one of the keys.
            ConfigurationError: A setting is missing or wrong. The error says where it was written, and shows no secret.
            StorageError: A backend connects at once, and its server cannot be reached.
            ImportError: The extra that a kind of backend needs is not installed.
            UnsupportedOperationError: A column's ``stored_with`` needs what a backend does not support.
        """
        return self._configure({} if backends is None else backends, environ, prefix, "configure()")

    def configure_from_toml(
        self,
        path: str | os.PathLike[str],
        section: str = "tool.filerow.backends",
        *,
        environ: Mapping[str, str] | None = None,
        prefix: str = VARIABLES,
    ) -> dict[str, StorageBackend]:
        """Register the backends of a TOML file; see :meth:`configure`.

        Args:
            path: The file.
            section: The table of the backends, such as ``files.staging``.
            environ: Variables, which add to the file and win.
            prefix: How their names begin.

        Raises:
            FileNotFoundError: The file does not exist.
        """
        from filerow._configuration import read_toml

        return self._configure(read_toml(path, section), environ, prefix, f"{os.fspath(path)} [{section}]")

    def _configure(self, given: object, environ: Mapping[str, str] | None, prefix: str, place: str) -> dict[str, StorageBackend]:
        from filerow._configuration import read_settings

        made: dict[str, tuple[StorageBackend, bool]] = {}
        defaults: list[str] = []
        for settings in read_settings(given, environ, prefix, place):
            if self.is_registered(settings.key):
                msg = f"{settings.place}: a backend is registered as {settings.key!r} already; choose another key"
                raise BackendExistsError(msg)
            url, deletes = settings.take_url(), settings.take("deletes", otherwise=True)
            defaults += [settings.key] if settings.take("default", otherwise=False) else []
            try:
                made[settings.key] = backend_from_url(url, settings.key, **settings.entries), deletes
            except ConfigurationError:
                raise
            except (TypeError, ValueError) as error:
                raise ConfigurationError(f"{settings.place}: backend {settings.key!r}: {error}") from error
        if len(defaults) > 1:
            raise ConfigurationError(f"{place}: {' and '.join(map(repr, defaults))} are both the default; choose one")
        self._register_all(made)
        self._default = defaults[0] if defaults else self._default
        return {key: backend for key, (backend, _) in made.items()}

    def _register_all(self, made: Mapping[str, tuple[StorageBackend, bool]]) -> None:
        """Register backends, or none of them if one is refused."""
        done: list[str] = []
        try:
            for key, (backend, deletes) in made.items():
                self.register_backend(backend, deletes=deletes)
                done.append(key)
        except BaseException:
            for key in done:
                self.unregister_backend(key)
            raise

    def may_delete(self, key: str) -> bool:
        """Return False for a backend that is registered with ``deletes=False``."""
        return key not in self._guests

    def get_backend(self, key: str) -> StorageBackend:
        """Return the backend registered under a key.

        Raises:
            BackendNotFoundError: No backend has this key.
        """
        try:
            return self._backends[key]
        except KeyError:
            known = ", ".join(map(repr, self._backends)) or "none at all"
            raise BackendNotFoundError(
                f"no backend is registered as {key!r} (registered: {known}); call "
                f"storages.register_backend(..., key={key!r}) at startup"
            ) from None

    def get_default_backend(self) -> StorageBackend:
        """Return the default backend, or the only one registered if no default is set.

        Raises:
            BackendNotFoundError: No default is set, and the number of registered backends is not one.
        """
        if self._default is not None:
            return self.get_backend(self._default)
        if len(self._backends) == 1:
            return next(iter(self._backends.values()))
        known = ", ".join(map(repr, self._backends)) or "none at all"
        raise BackendNotFoundError(
            f"no backend is named and there is no default (registered: {known}); name one in StoredObject(backend=...) or "
            "call storages.set_default_backend(...)"
        )

    def resolve(self, key: str) -> StorageBackend:
        """Return the backend with this key, or the default one for an empty key."""
        found = self._backends.get(key)
        if found is not None:
            return found
        return self.get_backend(key) if key else self.get_default_backend()

    def sign_many(self, files: Iterable[Located], *, expires_in: float = 3600, round_expiry: float | None = None) -> list[str]:
        """Return a URL to read each file, in order; each store signs in one call.

        For a download name, which belongs to one file, sign one by one: ``file.sign(download_as="report.pdf")``.

        Args:
            files: Stored files, of any backends.
            expires_in: Seconds for which the URLs work.
            round_expiry: Length in seconds of a window in which all URLs are the same, for caches; they may work this much
                longer.

        Raises:
            UnsupportedOperationError: A backend cannot sign.
            TypeError: ``expires_in`` is not a number.
            ValueError: ``expires_in`` or ``round_expiry`` is not positive and finite.
        """
        request = SignRequest("GET", whole_seconds(expires_in)).rounded(round_expiry)
        groups, order = self._grouped(files, request)
        for group in groups:
            group.urls = iter(group.backend.sign_many(group.paths, group.request))
        return [next(group.urls) for group in order]

    async def sign_many_async(
        self, files: Iterable[Located], *, expires_in: float = 3600, round_expiry: float | None = None
    ) -> list[str]:
        """Return one URL per stored file; see :meth:`sign_many`."""
        request = SignRequest("GET", whole_seconds(expires_in)).rounded(round_expiry)
        groups, order = self._grouped(files, request)
        for number, group in enumerate(groups, 1):
            group.urls = iter(await group.backend.sign_many_async(group.paths, group.request))
            if number % _AT_ONCE == 0:  # URLs of our own are computed here, one by one
                await asyncio.sleep(0)
        return [next(group.urls) for group in order]

    def _grouped(self, files: Iterable[Located], request: SignRequest) -> tuple[list[_Group], list[_Group]]:
        """Return the groups of files that are signed in one call, and that of each file.

        A store with a server knows each file's name and type. A URL of our own must bind them, so each file has its own request.
        """
        places: dict[tuple[StorageRegistry | None, str], _Group] = {}
        groups: dict[tuple[StorageBackend, SignRequest], _Group] = {}
        order = []
        for file in files:
            place = registry, key = file._kept, file.backend_key
            group = places.get(place)
            if group is None:
                ask = (registry or self).resolve(key), request
                group = places[place] = groups.setdefault(ask, _Group(*ask))
            if group.backend.own_urls is not None:
                ask = group.backend, file._presented(request)
                group = groups.setdefault(ask, _Group(*ask))
            group.paths.append(file.path)
            order.append(group)
        return [group for group in groups.values() if group.paths], order

    def set_default_backend(self, key: str) -> None:
        """Choose the backend, registered or not yet, where none is named."""
        self._default = key

    def is_registered(self, key: str) -> bool:
        """Return True if a backend is registered under a key."""
        return key in self._backends

    def registered_backends(self) -> list[str]:
        """Return the keys of all registered backends, in order of registration."""
        return list(self._backends)

    def unregister_backend(self, key: str) -> None:
        """Remove a backend from the registry; its objects stay, but cannot be read.

        Raises:
            BackendNotFoundError: No backend has this key.
        """
        with _lock:
            self.get_backend(key)
            del self._backends[key]
            self._guests.discard(key)
            if self._default == key:
                self._default = None

    def clear_backends(self) -> None:
        """Remove all backends and the default."""
        with _lock:
            self._backends.clear()
            self._guests.clear()
            self._default = None


def key_of(backend: object, hint: str = "") -> str:
    """Return the key by which a backend is named; empty for ``None``.

    Args:
        backend: A key, a backend, or ``None``.
        hint: Text to append to the error.

    Raises:
        TypeError: ``backend`` is none of these.
    """
    if isinstance(backend, str):
        return backend
    if backend is None:
        return ""
    if isinstance(backend, StorageBackend):
        return backend.key
    raise TypeError(f"backend must be a backend or its key, not {type(backend).__name__}{hint}")


def _no_backend(given: object) -> str:
    if isinstance(given, type):
        return f"register_backend() takes a backend, not its class: register_backend({given.__name__}(key=...))"
    hint = f"; for a directory write 'file://{os.path.abspath(given)}'" if isinstance(given, os.PathLike) else ""  # noqa: PTH100
    return f"register_backend() takes a backend or a URL, not {type(given).__name__}{hint}"


class _Expected(NamedTuple):
    column: str
    key: str
    stored_with: StoredWith


class _Group:
    """Files that are signed in one call."""

    __slots__ = ("backend", "paths", "request", "urls")

    def __init__(self, backend: StorageBackend, request: SignRequest) -> None:
        self.backend = backend
        self.request = request
        self.paths: list[str] = []
        self.urls: Iterator[str] = iter(())


def backend_from_url(url: str, key: str, **options: Any) -> StorageBackend:
    """Make a backend from a URL. Its module and packages are imported only now.

    Args:
        url: ``file:///absolute/path``, ``memory://``, ``s3://bucket/prefix``, or with any other protocol of fsspec. Its query
            holds options: ``?fsync=0``, ``?aws_region=eu-west-1&timeout=20``.
        key: The name that documents and columns refer to.
        **options: Other arguments of the backend's class.

    Raises:
        ValueError: The URL is invalid, its path is not absolute, an option of its query is unknown or has the wrong type, or
            it has credentials or a fragment.
        ImportError: The extra that this kind of backend needs is not installed.
    """
    scheme = urlsplit(url).scheme.lower()
    bare, found = split_url(url)
    if not scheme:
        shown = shown_url(url)
        raise ValueError(
            f"{shown!r} is not a URL; write file://{shown if url.startswith('/') else '/absolute/path'} for a directory"
        )
    if scheme == "file":
        from filerow.backends.local import LocalBackend

        return LocalBackend(key, _local_root(bare), **merged_options(LocalBackend, url, found, options))
    if scheme == "memory":
        from filerow.backends.memory import MemoryBackend

        _refuse_address(bare)
        return MemoryBackend(key, **merged_options(MemoryBackend, url, found, options))
    if scheme in _OBSTORE_SCHEMES:
        from filerow.backends.obstore import ObstoreBackend

        return ObstoreBackend(key, bare, **merged_options(ObstoreBackend, url, found, options))
    try:
        from filerow.backends.fsspec import FSSpecBackend
        from filerow.backends.fsspec.open import defaults_of
    except ImportError as error:
        msg = f"{scheme}:// is not one of file, memory, s3, gs, az and http, so it must be a protocol of fsspec. {error}"
        raise ImportError(msg) from error

    return FSSpecBackend(key, bare, **merged_options(FSSpecBackend, url, found, options, defaults_of(scheme)))


def _refuse_address(url: str) -> None:
    if url.lower() != "memory://":
        raise ValueError(f"{shown_url(url)!r}: memory has no address; write memory://")


def _local_root(url: str) -> str:
    parts = urlsplit(url)
    host = "" if parts.netloc == "localhost" else parts.netloc
    path = unquote(parts.path)
    if host or not path.startswith("/"):
        relative = host + path
        such = f", such as {Path(relative).absolute().as_uri()}, or pass LocalBackend(key, {relative!r})" if relative else ""
        raise ValueError(f"{url!r} does not name a directory of this machine; write file:///absolute/path{such}")
    return path


class _Storages(StorageRegistry):
    """The registry in force: all that it does and holds is that one's."""

    def __init__(self) -> None:  # it holds nothing that the class's own would set
        self._own = StorageRegistry()

    def resolve(self, key: str) -> StorageBackend:
        """Return the backend with this key, or the default one for an empty key."""
        chosen = _in_force.get() or self._own
        found = chosen._backends.get(key)
        return chosen.resolve(key) if found is None else found

    @contextmanager
    def active(self) -> Generator[StorageRegistry]:
        """Let the registry of this process be in force again in a block."""
        before = _in_force.set(None)
        try:
            yield process_registry()
        finally:
            with suppress(ValueError):  # see above
                _in_force.reset(before)


def _of_the_one_in_force(name: str) -> property:
    def get(self: _Storages) -> Any:
        return getattr(_in_force.get() or self._own, name)

    def put(self: _Storages, value: Any) -> None:
        setattr(_in_force.get() or self._own, name, value)

    return property(get, put)


for _name in ("max_concurrency", "failed_deletes", "_backends", "_default", "_guests"):
    setattr(_Storages, _name, _of_the_one_in_force(_name))

_storages = _Storages()

storages: StorageRegistry = _storages
"""The registry in force: that of this process, or another one inside a block of its ``active()``."""


def in_force() -> StorageRegistry | None:
    """Return the registry in force; ``None`` for that of this process."""
    return _in_force.get() if others else None


def process_registry() -> StorageRegistry:
    """Return the registry of this process, even where another is in force."""
    return _storages._own


def within(registry: StorageRegistry | None) -> AbstractContextManager[object]:
    """Return a block with a registry; ``None`` stands for the process's own."""
    return AS_IT_IS if is_plain() else (registry or storages).active()


def is_plain() -> bool:
    """Return True if no registry but that of this process has ever been in force."""
    return not others


def expect(owner: object, column: str, key: str, stored_with: StoredWith) -> None:
    """Record how a column wants its objects stored; check the backend if it exists.

    Args:
        owner: The object that asks; its requirement ends with it.
        column: The column's name, for the error.
        key: Key of its backend; empty for the default one, which is checked when the first file is stored.
        stored_with: The options the objects are to be stored with.

    Raises:
        UnsupportedOperationError: The backend does not support one of them.
    """
    with _lock:
        known = storages._backends.get(key)
        if known is not None:
            check_kept(known, stored_with, column)
        storages._expected[owner] = _Expected(column, key, stored_with)


def may_differ(key: str) -> bool:
    """Return True if a column stores objects in this backend with options of its own."""
    if not storages._expected:
        return False
    with _lock:
        return any(one.key in {"", key} for one in storages._expected.values())
