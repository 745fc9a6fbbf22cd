"""A store that fails once, at one operation of a kind."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.cases.stores import Store

if TYPE_CHECKING:
    from tests.soak.walks.model import Committed

OPERATIONS = ("put", "put-late", "copy", "copy-late", "delete")


class Fault(set[str]):
    """Stands in the place of a backend's set of failing operations, and counts.

    Args:
        operation: What fails.
        number: At the how-manieth time. A delete always fails: several run side by side, and which one came first would be
            chance.

    Attributes:
        struck: It has failed.
    """

    def __init__(self, operation: str, number: int) -> None:
        super().__init__([operation])
        self.operation = operation
        self.struck = False
        self._left = number

    def __contains__(self, operation: object) -> bool:
        if operation != self.operation:
            return False
        self._left -= 1
        fails = operation == "delete" or self._left == 0
        self.struck = self.struck or fails
        return fails


@contextmanager
def failing(store: Store, committed: Committed, operation: str | None, number: int) -> Generator[Fault | None]:
    """Have an operation fail meanwhile; compare after the block, when ``committed`` knows what a failed delete has left."""
    if operation is None:
        yield None
        return
    fault = Fault(operation, number)
    keys = ("docs", "other")
    if operation == "delete" and number % 3:
        keys = keys[number % 3 - 1 : number % 3]  # only one of the two
    backends = [store.backends[key] for key in keys]
    asked = [len(backend.deletes) for backend in backends]
    for backend in backends:
        backend.failing = fault
    try:
        yield fault
    finally:
        for backend in backends:
            backend.failing = set()
        if operation == "delete" and fault.struck:
            wanted = {
                (backend.key, path)
                for backend, start in zip(backends, asked, strict=True)
                for paths in backend.deletes[start:]
                for path in paths
            }
            committed.orphans |= wanted & store.objects()
