"""``filerow conformance``: tests a bucket in a folder that is removed."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sys
import uuid
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

from filerow._registry import backend_from_url, storages
from filerow.backends.base import StorageBackend
from filerow.cli._application import register_backends
from filerow.cli._output import ClosedOutputError, write, write_error
from filerow.cli._values import CannotRunError, hidden, plain
from filerow.testing import Harness, Outcome, Result, run

_BUCKETS = frozenset({"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss"})
CLEAN, FOUND, CANNOT_RUN, INTERRUPTED, CLOSED = 0, 1, 2, 130, 141


@dataclass(frozen=True, slots=True)
class Options:
    """The command's options.

    Attributes:
        backend: The URL of the backend, or the key of one that ``setup`` registers or the environment names.
        options: ``NAME=VALUE`` each: the backend's options.
        setup: ``package.module:function`` to call first.
        large: Also run the large cases.
        sides: ``sync``, ``async`` or both.
        cases: The cases to run; all if empty.
        json: Write one JSON object per line.
    """

    backend: str
    options: Sequence[str] = ()
    setup: str | None = None
    large: bool = False
    sides: tuple[str, ...] = ("sync", "async")
    cases: tuple[str, ...] = ()
    json: bool = False


class _Live(Harness):
    """A bucket that is not ours: nothing may be left in it."""

    def __init__(self, options: Options) -> None:
        self.large = options.large
        self._chosen = options
        self._options = _parsed(options.options)

    def make(self) -> StorageBackend:
        if "://" not in self._chosen.backend:
            return storages.get_backend(self._chosen.backend)
        return backend_from_url(self._chosen.backend, "conformance", **self._options)

    def make_missing(self) -> StorageBackend | None:
        parts = urlsplit(self._chosen.backend)
        if parts.scheme not in _BUCKETS:
            return None
        missing = parts._replace(netloc=f"filerow-missing-{uuid.uuid4().hex[:20]}")
        return backend_from_url(urlunsplit(missing), "conformance", **self._options)


@dataclass
class _Summary:
    passed: int = 0
    failed: int = 0
    does_not_apply: int = 0
    seconds: float = 0.0
    exit_code: int = 0
    error: str = ""
    lacking: dict[str, list[str]] = field(default_factory=dict)

    def note(self, result: Result) -> None:
        self.seconds = round(self.seconds + result.seconds, 3)
        if result.outcome is Outcome.PASSED:
            self.passed += 1
        elif result.outcome is Outcome.FAILED:
            self.failed += 1
        else:
            self.does_not_apply += 1
            names = self.lacking.setdefault(result.message, [])
            if result.case not in names:
                names.append(result.case)


def conform(options: Options) -> int:
    """Run every case, show the results, and return the exit code."""
    from filerow.cli._run import Stop  # loads the maintenance, which help does not need

    summary = _Summary()
    stop = Stop()
    try:
        try:
            with stop, _empty_folders_removed(options.backend):
                _try_all(options, summary, stop.cuts)
        except CannotRunError as error:
            summary.error = str(error)
        summary.exit_code = CANNOT_RUN if summary.error else INTERRUPTED if stop.has_cut else FOUND if summary.failed else CLEAN
        _end(options, summary)
    except ClosedOutputError:
        return CLOSED
    if summary.error:
        write_error(f"filerow conformance: {summary.error}")
    return summary.exit_code


def _try_all(options: Options, summary: _Summary, cuts: Callable[[], bool]) -> None:
    harness = _ready(options)
    try:
        results = run(harness, sides=options.sides, cases=options.cases)
    except ValueError as error:
        raise CannotRunError(str(error)) from error
    if not options.json:
        write(f"{'case':64} {'side':6} {'':15} seconds")
    with contextlib.closing(results):
        for result in results:
            summary.note(result)
            _show(options, result)
            if cuts():
                return


@contextlib.contextmanager
def _empty_folders_removed(url: str) -> Generator[None]:
    """Remove the empty folders of deleted objects, and a directory that was new."""
    parts = urlsplit(url)
    root = Path(unquote(parts.path)) if parts.scheme == "file" else None
    was_there = root is None or root.exists()
    try:
        yield
    finally:
        if root is not None:
            scratch = root / "filerow-conformance"
            for folder, _, _ in os.walk(scratch, topdown=False):
                with contextlib.suppress(OSError):
                    Path(folder).rmdir()
            if not was_there:
                with contextlib.suppress(OSError):
                    root.rmdir()


def _ready(options: Options) -> _Live:
    """Return the harness, after making the backend and listing its bucket."""
    shown = hidden(options.backend)
    if options.setup is not None:
        _set_up(options.setup)
    if "://" not in options.backend and not storages.is_registered(options.backend):
        register_backends({}, environ=os.environ)
    harness = _Live(options)
    try:
        backend = harness.make()
        next(iter(backend.list("filerow-conformance")), None)
        harness.close(backend)
    except Exception as error:
        raise CannotRunError(f"backend {shown}: {hidden(str(error)) or type(error).__name__}") from error
    return harness


def _set_up(name: str) -> None:
    module, _, function = name.partition(":")
    sys.path.insert(0, str(Path.cwd()))
    try:
        found = importlib.import_module(module)
        if function:
            getattr(found, function)()
    except Exception as error:
        raise CannotRunError(f"--setup {name} failed: {type(error).__name__}: {hidden(str(error))}") from error


def _parsed(given: Sequence[str]) -> Mapping[str, Any]:
    found: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not name or not equals:
            raise CannotRunError(f"--option must be NAME=VALUE, such as aws_endpoint=http://localhost:9000, not {hidden(text)!r}")
        found[name] = json.loads(value) if value[:1] in {"{", "["} or value in {"true", "false"} else value
    return found


def _show(options: Options, result: Result) -> None:
    if options.json:
        write(json.dumps({"type": "case", **asdict(result), "message": hidden(result.message)}))
        return
    write(f"{result.case:64} {result.side:6} {result.outcome:15} {result.seconds:7.2f}")
    if result.outcome is Outcome.FAILED:
        for line in hidden(result.message).splitlines():
            write(f"    {plain(line)}")


def _end(options: Options, summary: _Summary) -> None:
    if options.json:
        write(json.dumps({"type": "summary", **asdict(summary)}))
        return
    for reason, names in sorted(summary.lacking.items()):
        write(f"does not apply: {plain(hidden(reason))}: {', '.join(names)}")
    if not summary.error:
        counts = f"{summary.passed} passed, {summary.failed} failed, {summary.does_not_apply} did not apply"
        write(f"conformance: {counts} ({summary.seconds:.1f} s)")
