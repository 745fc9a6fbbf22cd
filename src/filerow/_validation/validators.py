"""What an application's own checks are given, and what may come of them.

A validator is a callable, plain or ``async``, that gets a file's first bytes and an :class:`Inspection`. It returns ``None``, or
a mapping to add to the file's metadata, or raises ``FileValidationError``. One that must see every byte, such as a virus scanner,
is marked with :func:`whole_content`.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Generic, NamedTuple, ParamSpec, TypeAlias, TypeVar

from filerow.exceptions import FilerowError, FileValidationError

P = ParamSpec("P")
R = TypeVar("R")


class Inspection(NamedTuple):
    """What is known of a file before a byte of it is stored.

    Attributes:
        filename: The client's name for it, cleaned for display.
        content_type: Media type: what the first bytes prove, otherwise the client's hint.
        size: Length in bytes; ``None`` for a stream that has not ended yet.
        width: Width of an image in pixels, as its header says; ``None`` when it does not, or for other files.
        height: Height, likewise.
        field: Name of the column; empty where there is none.
        metadata: The file's metadata so far.
    """

    filename: str
    content_type: str
    size: int | None
    width: int | None
    height: int | None
    field: str
    metadata: Mapping[str, Any]


Verdict: TypeAlias = Mapping[str, Any] | None
Validator: TypeAlias = (
    Callable[[bytes, Inspection], Verdict | Awaitable[Verdict]]
    | Callable[[Iterator[bytes], Inspection], Verdict]
    | Callable[[AsyncIterator[bytes], Inspection], Awaitable[Verdict]]
)


class WholeContent(Generic[P, R]):
    """A validator that is given the whole content; see :func:`whole_content`."""

    def __init__(self, call: Callable[P, R]) -> None:
        self.call = call

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the validator, as if it were not marked."""
        return self.call(*args, **kwargs)


def whole_content(call: Callable[P, R]) -> WholeContent[P, R]:
    """Mark a validator that gets every byte, in chunks, instead of the first ones.

    An ``async`` validator gets an asynchronous iterator of ``bytes``, a plain one an iterator. It runs before the first byte is
    stored. Content that can be read only once is put aside meanwhile: in memory up to 5 MiB, from there on in a temporary file.
    """
    return WholeContent(call)


def checked_validators(given: Iterable[Validator]) -> tuple[Validator, ...]:
    """Return a column's validators.

    Raises:
        TypeError: It is one validator, where a list of them is meant, or one is nothing to call.
    """
    if callable(given):
        raise TypeError("validators is a list; write validators=[...], also for one")
    found = tuple(given)
    wrong: list[object] = [validator for validator in found if not callable(validator)]
    if wrong:
        raise TypeError(f"a validator is a function of a file's first bytes and its Inspection, not {type(wrong[0]).__name__}")
    return found


def is_async(validator: object) -> bool:
    """Return True for an ``async`` function or an object with an ``async __call__``."""
    call = validator.call if isinstance(validator, WholeContent) else validator
    return inspect.iscoroutinefunction(call) or inspect.iscoroutinefunction(type(call).__call__)


def name_of(validator: object) -> str:
    """Return what to call a validator in a message."""
    call = validator.call if isinstance(validator, WholeContent) else validator
    name = call.__qualname__ if inspect.isroutine(call) else type(call).__qualname__
    return str(name)


def added_by(validator: object, verdict: object) -> Mapping[str, Any]:
    """Return the metadata that a validator wants to add.

    Raises:
        TypeError: It returned something else.
    """
    if verdict is None:
        return {}
    if isinstance(verdict, Mapping):
        return verdict
    raise TypeError(
        f"the validator {name_of(validator)} returned {type(verdict).__name__}; it returns None, or a mapping to add to the "
        "file's metadata, and refuses a file by raising FileValidationError"
    )


@contextmanager
def refusals(field: str) -> Generator[None]:
    """Turn what a validator raises into our error, with the name of the field.

    A plain ``ValueError``, as parsers raise it, is a refusal too, with its own text. Everything else is an accident and is raised
    as it is.

    Raises:
        FileValidationError: The validator has refused the file.
    """
    try:
        yield
    except FileValidationError as error:
        error.field = error.field or field
        raise
    except FilerowError:
        raise
    except ValueError as error:
        raise FileValidationError(f"{field or 'file'}: {error}", field=field) from error
