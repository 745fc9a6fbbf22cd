"""Makes the asynchronous twins of maintenance, in SQLAlchemy's greenlet."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy import Engine, MetaData

from filerow._execution.batch import iterate_async

if TYPE_CHECKING:  # needs greenlet, which SQLAlchemy 2.1 does not bring by itself
    from sqlalchemy.ext.asyncio import AsyncEngine

P = ParamSpec("P")
T = TypeVar("T")


def awaited(
    function: Callable[Concatenate[MetaData, Engine, P], Iterator[T]],
) -> Callable[Concatenate[MetaData, AsyncEngine, P], AsyncIterator[T]]:
    """Return the asynchronous twin of a piece of maintenance, with its options.

    Args:
        function: Takes models and an engine, checks its options when it is called, and yields its steps.
    """

    def twin(metadata: MetaData, engine: AsyncEngine, *args: P.args, **options: P.kwargs) -> AsyncIterator[T]:
        return iterate_async(function(metadata, engine.sync_engine, *args, **options))

    name = f"{function.__name__}_async"
    first, _, _ = (function.__doc__ or "").partition("\n")
    twin.__name__, twin.__qualname__, twin.__module__ = name, name, function.__module__
    twin.__doc__ = f"{first}\n\nTakes an ``AsyncEngine``, and is iterated by ``async for``; see :func:`{function.__name__}`."
    found: Any = inspect.signature(function)
    parameters = [one.replace(annotation="AsyncEngine") if one.name == "engine" else one for one in found.parameters.values()]
    returned = str(found.return_annotation).replace("Iterator", "AsyncIterator", 1)
    twin.__signature__ = found.replace(parameters=parameters, return_annotation=returned)  # type: ignore[attr-defined]
    return twin  # type: ignore[return-value] # ParamSpec has no names for the first two, which may be given by name all the same
