"""Signed URLs: natively where the native client can, with the cloud's own library for what only that can bind."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import obstore

from filerow.backends._obstore_steps import Call, Steps
from filerow.backends._types import SignRequest
from filerow.exceptions import UnsupportedOperationError

__all__ = ("Signer",)


class Signer:
    """Signs URLs for one store."""

    def __init__(self, store: Any, backend: str, protocol: str) -> None:
        self._store = store
        self._backend = backend
        self._protocol = protocol

    def steps(self, paths: Sequence[str], request: SignRequest) -> Steps[Sequence[str]]:
        """Return a URL per path, in order."""
        if self._protocol not in {"s3", "gs", "az"}:
            msg = "not signable"
            raise UnsupportedOperationError(msg, operation="sign", backend=self._backend)
        lifetime = timedelta(seconds=request.expires_in)
        return (yield Call(obstore.sign, obstore.sign_async, (self._store, request.method, list(paths), lifetime), {}))
