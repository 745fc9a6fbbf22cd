"""What watches the operations of all backends, such as a tracer.

Nothing does unless it is installed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol


class Observation(Protocol):
    """One operation that is under way."""

    def moved(self, size: int) -> None:
        """Note how many bytes were sent or received."""

    def answered(self, count: int, failed: Mapping[str, BaseException]) -> None:
        """Note how many objects a bulk operation was about, and which of them failed."""

    def end(self, error: BaseException | None) -> None:
        """Note the end, and what was raised."""


class Observer(Protocol):
    """Is asked to watch each operation."""

    def begin(self, backend: str, protocol: str, operation: str, path: str, *, streams: bool) -> Observation:
        """Note that an operation begins.

        Args:
            backend: The backend's key.
            protocol: The kind of store.
            operation: ``put``, ``read``, ``copy``, ``delete``, ``head``, ``list`` or ``limits``.
            path: The object's path, or a folder; empty for several objects.
            streams: It is a generator, so other code runs before it ends, perhaps in other contexts.
        """
        ...


observers: list[Observer] = []
