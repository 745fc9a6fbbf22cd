"""What is known of an obstore store's conditions, and how to find out the rest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import obstore
from obstore import exceptions as native

from filerow._execution.steps import Call
from filerow.backends._conditions import Conditions, Worth, WriteReply, honoured
from filerow.backends.obstore.errors import BUSY, TAKEN, is_answer, is_busy, status_of
from filerow.backends.obstore.store import endpoint_of, is_switched_off, with_conditional_copy, without_retries

_NOT_KNOWN = frozenset({400, 405, 501})
"""Statuses of a header that a store does not know."""


def conditions_of(store: Any, backend: str, protocol: str, delete: Callable[[Sequence[str]], Call]) -> Conditions:
    """Return what is known of a store's conditions; the clouds' own honour them."""
    if protocol != "s3":
        return honoured(backend)
    off, asked = is_switched_off(store), not endpoint_of(store)
    put = Worth.OFF if off else Worth.HONOURED if asked else None
    # who has switched conditions off may still have named a header for copies, as Cloudflare's R2 has one
    copy = Worth.OFF if off and not store.config.get("copy_if_not_exists") else Worth.HONOURED if asked else None
    return Conditions(backend, _ObstoreWriter(store, delete), put, copy)


class _ObstoreWriter:
    """Writes to a store of obstore, without trying an answer of 501 eleven times."""

    def __init__(self, store: Any, delete: Callable[[Sequence[str]], Call]) -> None:
        self._store = store
        self._delete = delete
        self._once: Any = None

    def put(self, path: str) -> Call:
        return Call(obstore.put, obstore.put_async, (self._store, path, b"?"), {})

    def put_new(self, path: str, *, patient: bool) -> Call:
        return Call(obstore.put, obstore.put_async, (self._conditional(patient=patient), path, b"?"), {"mode": "create"})

    def copy_new(self, source: str, target: str, *, patient: bool) -> Call:
        store = self._conditional(patient=patient)
        return Call(obstore.copy, obstore.copy_async, (store, source, target), {"overwrite": False})

    def copy(self, source: str, target: str) -> Call:
        return Call(obstore.copy, obstore.copy_async, (self._store, source, target), {"overwrite": True})

    def delete(self, paths: Sequence[str]) -> Call:
        return self._delete(paths)

    def reply_in(self, error: BaseException) -> WriteReply | None:
        if isinstance(error, TAKEN):
            return WriteReply.TAKEN
        status = status_of(error)
        if isinstance(error, (native.NotSupportedError, NotImplementedError)) or status in _NOT_KNOWN:
            return WriteReply.REFUSED
        if status in BUSY or is_busy(error):
            return WriteReply.LATER
        return WriteReply.UNCLEAR if status is not None or is_answer(error) else None

    def _conditional(self, *, patient: bool) -> Any:
        if self._once is None:
            self._once = without_retries(with_conditional_copy(self._store))
        return with_conditional_copy(self._store) if patient else self._once
