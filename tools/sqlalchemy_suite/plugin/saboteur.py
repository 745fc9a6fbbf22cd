"""The store of the runs with files; it can be made to fail."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from filerow.backends.memory import MemoryBackend


class Saboteur(MemoryBackend):
    """A backend that can lose deletes or objects, to show that the comparison can fail."""

    def __init__(self, key: str, sabotage: str) -> None:
        super().__init__(key)
        self._sabotage = sabotage

    def forget(self, paths: Sequence[str]) -> None:
        """Delete in any case."""
        super().delete(paths)

    def delete(self, paths: str | Sequence[str]) -> dict[str, Any]:
        """Delete, or forget to."""
        return {} if self._sabotage == "orphan" else super().delete(paths)

    def put(self, path: str, *args: Any, **kwargs: Any) -> Any:
        """Store, or lose it at once."""
        info = super().put(path, *args, **kwargs)
        if self._sabotage == "dangling":
            super().delete(path)
        return info
