"""How the doctor asks: each call blocks, or is awaited where the doctor is."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import islice
from typing import Any

from filerow._execution.batch import call
from filerow._execution.threads import in_thread
from filerow.backends.base import StorageBackend


def ask(backend: StorageBackend, method: str, *args: Any, **options: Any) -> Any:
    """Call a method of a backend, or await its twin."""
    twins = (partial(getattr(backend, name), **options) for name in (method, f"{method}_async"))
    return call(*twins, *args)


def listed(backend: StorageBackend, method: str, folder: str, most: int | None = None) -> list[Any]:
    """Return what a method of a backend yields for a folder, at most ``most`` items."""

    async def later() -> list[Any]:
        found: list[Any] = []
        async for item in getattr(backend, f"{method}_async")(folder):
            found.append(item)
            if len(found) == most:
                break
        return found

    return call(lambda: list(islice(getattr(backend, method)(folder), most)), later)


def in_a_thread(function: Callable[..., Any], *args: Any) -> Any:
    """Call a function that blocks, in a thread where the doctor is awaited."""
    return call(function, partial(in_thread, function), *args)
