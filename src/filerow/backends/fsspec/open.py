"""Build fsspec filesystems: from URLs, for threads, and again after a fork."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import fsspec
from fsspec.core import url_to_fs

from filerow._requirements import needs
from filerow.backends._deadlines import seconds_of
from filerow.backends.fsspec.flavour import KEPT, Flavour
from filerow.backends.fsspec.flavours import flavour_of, protocol_of

_NAMED = frozenset({inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY})
_OF_ALL = frozenset({"listings_expiry_time", "max_paths", "skip_instance_cache", "use_listings_cache"})
"""Options that fsspec takes for each filesystem."""

_EXTRAS = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "abfs": "adlfs", "abfss": "adlfs", "az": "adlfs"}


def opened(fs: Any, flavour: Flavour | None, options: Mapping[str, Any], timeout: float | None) -> tuple[Any, str]:
    """Return the filesystem of a backend, and the folder that its URL names.

    Args:
        fs: A protocol, a URL or a filesystem.
        flavour: Of a protocol or URL.
        options: Options to build it with.
        timeout: Seconds; see ``_deadlines``.

    Raises:
        ImportError: The filesystem of a cloud is missing or too old; the error names its extra.
        TypeError: ``fs`` is none of these, or is built already and comes with options.
        ValueError: fsspec does not know the protocol, or the timeout is not a positive number.
    """
    if flavour is not None:
        protocol = scheme_of(fs)
        with _needs(protocol):
            return _open_url(fs, protocol, flavour, options, seconds_of(timeout))
    made = _blocking(fs, options if timeout is None else {**options, "timeout": timeout})
    with _needs(protocol_of(made)):
        flavour_of(protocol_of(made)).set_up(made, None)
        return made, ""


def scheme_of(url: str) -> str:
    """Return the protocol of a URL, or the protocol itself."""
    return url.partition("://")[0].partition("::")[0]


def defaults_of(protocol: str) -> dict[str, Any]:
    """Return the options of a filesystem and their defaults; none if not installed."""
    return {one.name: one.default for one in _parameters(protocol) if one.kind in _NAMED and one.name != "self"}


def _parameters(protocol: str) -> list[inspect.Parameter]:
    """Return what a filesystem, and the classes that it inherits from, are made with."""
    try:
        cls = fsspec.get_filesystem_class(protocol)
    except (ImportError, ValueError):  # building the filesystem raises the error that says what to do
        return []
    return [one for base in reversed(cls.__mro__[:-1]) for one in inspect.signature(base.__init__).parameters.values()]


def _check_options(protocol: str, flavour: Flavour, options: Mapping[str, Any]) -> None:
    """Refuse options that neither the filesystem nor its client knows.

    Most filesystems ignore them, or fail with the first request.
    """
    if own := defaults_of(protocol):
        known = {*own, *_OF_ALL, *flavour.client_options()} - {"self", "hostname"}
        if unknown := sorted(name for name in options if not any(fnmatchcase(name, one) for one in known)):
            raise TypeError(f"fsspec's {protocol} filesystem has no option {unknown[0]!r}; it takes {', '.join(sorted(known))}")


def _needs(protocol: str) -> AbstractContextManager[None]:
    """Name the extra of a cloud's filesystem where that is missing or too old."""
    extra = _EXTRAS.get(protocol)
    return needs(extra, f"FSSpecBackend on {protocol}://") if extra else nullcontext()


def _open_url(url: str, protocol: str, flavour: Flavour, options: Mapping[str, Any], timeout: float) -> tuple[Any, str]:
    """Return the filesystem of a URL or protocol, and the folder that the URL names."""
    if protocol not in fsspec.available_protocols() and protocol not in fsspec.registry:
        raise ValueError(
            f"no backend speaks {protocol}://; there are file, memory, s3, gs, az, http, and what fsspec knows "
            '(python -c "import fsspec; print(fsspec.available_protocols())")'
        )
    if "::" not in url:
        _check_options(protocol, flavour, options)
    chosen = {**flavour.defaults, "skip_instance_cache": True, **flavour.with_limits(options, timeout)}
    fs, root = url_to_fs(url, **chosen) if "://" in url else (fsspec.filesystem(url, **chosen), "")
    flavour.set_up(fs, timeout)
    return fs, str(root)


def _blocking(fs: Any, options: Mapping[str, Any]) -> Any:
    """Return a filesystem for threads; build one for an event loop again."""
    if not isinstance(fs, fsspec.AbstractFileSystem):
        raise TypeError(f"fs must be a protocol, a URL or an fsspec filesystem, not {type(fs).__name__}")
    if options:
        raise TypeError("options belong to the filesystem: pass them where it is built, or give fs as a URL")
    if not getattr(fs, "asynchronous", False):
        return fs
    chosen = {**fs.storage_options, "asynchronous": False, "skip_instance_cache": True}
    chosen.pop("loop", None)
    return type(fs)(*fs.storage_args, **chosen)


def root_of(protocol: str, root: str, prefix: str | None) -> str:
    """Return the folder that is a backend's root.

    Raises:
        ValueError: ``file`` without a folder, or a prefix with ``..``.
    """
    joined = "/".join(part for part in (root.rstrip("/"), (prefix or "").rstrip("/")) if part)
    if ".." in joined.split("/"):
        raise ValueError(f"a prefix has no '..': {prefix!r}")
    if protocol in {"file", "local"}:
        if not joined:
            raise ValueError("a file backend needs a folder: fs='file:///srv/files', or prefix='/srv/files'")
        return Path(joined).absolute().as_posix()
    return joined


_left_behind: list[Any] = []
"""The parent's filesystems: the finalizers of some would close in this child what only the parent's event loop can."""


def reopened(fs: Any, flavour: Flavour) -> Any:
    """Return a filesystem like this one, with new connections and threads."""
    _left_behind.append(fs)
    flavour.leave_behind()
    again = type(fs)(*fs.storage_args, **{**fs.storage_options, "skip_instance_cache": True})
    flavour.set_up(again, getattr(fs, KEPT, None))
    return again
