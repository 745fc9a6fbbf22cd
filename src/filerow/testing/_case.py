"""What a case of the conformance kit is, and how it states what should hold.

``assert`` is gone under ``python -O``, and explains itself under pytest only; a case also runs on the command line. So it
uses :func:`equal`, :func:`ensure` and :func:`raised`, whose errors are complete.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from filerow.backends.base import StorageBackend
from filerow.exceptions import ObjectHiddenError, ObjectNotFoundError, StoragePermissionError, UnsupportedOperationError
from filerow.testing._driver import CREATE_ONLY, OVERWRITE, AsyncDriver, SyncDriver
from filerow.testing._errors import CaseFailedError, DoesNotApplyError
from filerow.testing._harness import Harness

E = TypeVar("E", bound=BaseException)

_MOST = 240  # characters of a value that a message shows


@dataclass(frozen=True, slots=True)
class Case:
    """One thing that every backend must do.

    Attributes:
        name: A sentence, with underscores.
        theme: The module it is in: what it is about.
        check: Does it, given a backend seen through one of its sides; raises when the backend fails.
        sides: ``sync``, ``async`` or both.
        large: It moves hundreds of megabytes or makes thousands of objects, so it runs only when asked for.
    """

    name: str
    theme: str
    check: Callable[[Any], None]
    sides: tuple[str, ...]
    large: bool


CASES: dict[str, Case] = {}
"""Every case by name, in the order of their themes."""


def case(*, large: bool = False) -> Callable[[Callable[[SyncDriver], None]], Callable[[SyncDriver], None]]:
    """Make a case of a function that holds for both sides."""

    def register(function: Callable[[SyncDriver], None]) -> Callable[[SyncDriver], None]:
        _register(function, ("sync", "async"), large=large)
        return function

    return register


def async_case(function: Callable[[AsyncDriver], None]) -> Callable[[AsyncDriver], None]:
    """Make a case of a function that is about the event loop."""
    _register(function, ("async",), large=False)
    return function


def _register(function: Callable[[Any], None], sides: tuple[str, ...], *, large: bool) -> None:
    name = function.__name__
    if name in CASES:
        raise ValueError(f"there are two cases called {name}")
    CASES[name] = Case(name, function.__module__.rpartition(".")[2], function, sides, large)


# -- trying a case ------


def scratch_folder() -> str:
    """Return a folder that nothing has yet."""
    return f"filerow-conformance/{uuid.uuid4().hex}"


def check(harness: Harness, case: Case, side: str, backend: StorageBackend | None = None) -> None:
    """Try one case on one side of a backend, and remove what it has made.

    Args:
        harness: Where the backend comes from.
        case: What to try.
        side: ``sync`` or ``async``.
        backend: The backend; a fresh one when left out.

    Raises:
        DoesNotApplyError: The backend declares that it lacks what the case is about, or that it fails it.
        CaseFailedError: The backend fails it; so does any other exception.
    """
    if case.large and not harness.large:
        raise DoesNotApplyError("large cases were not asked for")
    fault = harness.known_faults.get(f"{case.name}_{side}") or harness.known_faults.get(case.name)
    with _driver(harness, side, backend) as driver:
        try:
            case.check(driver)
        except DoesNotApplyError:
            raise
        except Exception as error:
            if fault:
                raise DoesNotApplyError(f"known fault: {fault}") from error
            unable = _permission_in(error)
            if unable is not None:
                raise DoesNotApplyError(f"its credentials may not list: {unable.message}") from error
            raise
    if fault:
        raise CaseFailedError(f"{case.name} passes, so it need not be among known_faults any more: {fault}")


def _permission_in(error: BaseException | None) -> StoragePermissionError | None:
    """Return the error of credentials that may not list: not a backend's fault."""
    while error is not None:
        if isinstance(error, ObjectHiddenError) or (isinstance(error, StoragePermissionError) and error.operation == "list"):
            return error
        error = error.__cause__
    return None


@contextmanager
def _driver(harness: Harness, side: str, backend: StorageBackend | None) -> Generator[SyncDriver]:
    used = harness.make() if backend is None else backend
    try:
        driver = (AsyncDriver if side == "async" else SyncDriver)(used, harness, scratch_folder())
        try:
            yield driver
        except BaseException:
            driver.close()
            if harness.cleans:
                with suppress(Exception):  # what the case has to say matters more
                    driver.clean()
            raise
        driver.close()
        if harness.cleans:
            driver.clean()
    finally:
        if backend is None:
            harness.close(used)


def needs_kept_paths(d: SyncDriver) -> None:
    """End the case here, and check the refusal, if the store keeps no path free."""
    reason = d.limits.get(CREATE_ONLY)
    if reason is None or not d.backend.capabilities.exclusive:  # it looks, at least
        return
    path = d.at("unkept")
    d.call("put", path, b"first", OVERWRITE)
    raised(UnsupportedOperationError, d.call, "put", path, b"second")
    raised(UnsupportedOperationError, d.call, "copy", path, d.at("free"))
    equal(d.read(path), b"first", "what a path holds after a write that was refused")
    raise DoesNotApplyError(reason)


# -- what should hold ------------------------------------------------------------------------------------------------------


def ensure(condition: object, message: str) -> None:
    """Fail the case with a message unless something is so."""
    if not condition:
        raise CaseFailedError(message)


def equal(actual: object, expected: object, what: str) -> None:
    """Fail the case unless two values are equal.

    Args:
        actual: What the backend gave.
        expected: What it should have given.
        what: What the value is, as the subject of a sentence.
    """
    if actual != expected:
        raise CaseFailedError(f"{what}: expected {_shown(expected)}, got {_shown(actual)}")


def is_missing(result: object) -> bool:
    """Return True for the error of a missing object, or a hidden one."""
    return isinstance(result, ObjectNotFoundError | ObjectHiddenError)


def raised(kind: type[E], call: Callable[..., Any], *args: Any) -> E:
    """Return the error of ``kind`` that a call raises; fail the case otherwise."""
    try:
        result = call(*args)
    except kind as error:
        return error
    except Exception as error:
        raise CaseFailedError(f"{_call(args)}: expected {kind.__name__}, but {type(error).__name__} came: {error}") from error
    raise CaseFailedError(f"{_call(args)}: expected {kind.__name__}, but nothing was raised; the result is {_shown(result)}")


def _call(args: tuple[Any, ...]) -> str:
    return f"call with {', '.join(map(_shown, args))}" if args else "call"


def _shown(value: object) -> str:
    if isinstance(value, (bytes, bytearray)) and len(value) > _MOST // 4:
        return f"{len(value):,} bytes {bytes(value[:16])!r}…{bytes(value[-16:])!r}"
    text = repr(value)
    return text if len(text) <= _MOST else f"{text[: _MOST - 1]}…"


def none_unfinished(d: SyncDriver) -> None:
    """Check that no upload to the case's folder is unfinished."""
    try:
        left = d.items("unfinished", d.folder)
    except UnsupportedOperationError as error:
        raise DoesNotApplyError("the store does not list unfinished uploads") from error
    equal(left, [], "the uploads that were begun and neither completed nor aborted")
