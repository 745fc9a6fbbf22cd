"""Copies that refuse a taken target and keep the object's headers, on every store."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import obstore
from obstore import exceptions as native

from filerow._execution.steps import Call, Steps
from filerow.backends._foreign import check_exact
from filerow.backends.obstore.store import endpoint_of, with_conditional_copy

__all__ = ("Copier",)


class Copier:
    """Copies inside one store, and remembers how that store refuses to overwrite.

    Args:
        store: An obstore store.
        protocol: Its kind.
    """

    def __init__(self, store: Any, protocol: str) -> None:
        self._store = store
        self._protocol = protocol
        # Amazon documents If-None-Match on copies. Some compatible stores ignore it and overwrite, so those are asked first.
        self._conditional: bool | None = None if protocol == "s3" and endpoint_of(store) else True
        self._conditional_store: Any = None if protocol == "s3" else store

    def steps(self, source: str, target: str) -> Steps[None]:
        """Copy one object.

        Raises:
            FileNotFoundError: There is no source.
            FileExistsError: The target is the source.
            obstore.exceptions.AlreadyExistsError: The target is taken.
        """
        check_exact(source, self._protocol)
        if source == target:  # S3 calls that an invalid request before it looks at the condition
            yield Call(obstore.head, obstore.head_async, (self._store, source), {})
            raise FileExistsError(target)
        try:
            yield from self._copy_steps(source, target)
        except native.GenericError:
            # The local store has no error of its own for a missing source that is a folder.
            yield Call(obstore.head, obstore.head_async, (self._store, source), {})
            raise

    def _copy_steps(self, source: str, target: str) -> Steps[None]:
        if self._conditional_store is None:
            self._conditional_store = with_conditional_copy(self._store)
        if self._conditional:
            yield self._copy(self._conditional_store, source, target, overwrite=False)
        else:
            yield from self._reserve_and_copy(source, target)

    def _reserve_and_copy(self, source: str, target: str) -> Steps[None]:
        """Take the target with an empty object, which is race-free on every store, and copy over that."""
        yield Call(obstore.put, obstore.put_async, (self._store, target, b""), {"mode": "create"})
        try:
            if self._conditional is None and (yield from self._ask(source, target)):
                return
            yield self._copy(self._store, source, target, overwrite=True)
        except BaseException:
            with suppress(Exception):
                yield Call(obstore.delete, obstore.delete_async, (self._store, [target]), {})
            raise

    def _ask(self, source: str, target: str) -> Steps[bool]:
        """Copy on condition that there is no target, while there is ours; say whether the store copied all the same."""
        try:
            yield self._copy(self._conditional_store, source, target, overwrite=False)
        except (native.AlreadyExistsError, native.PreconditionError):
            self._conditional = True
            return False
        except native.NotSupportedError:
            self._conditional = False
            return False
        self._conditional = False
        return True

    @staticmethod
    def _copy(store: Any, source: str, target: str, *, overwrite: bool) -> Call:
        return Call(obstore.copy, obstore.copy_async, (store, source, target), {"overwrite": overwrite})
