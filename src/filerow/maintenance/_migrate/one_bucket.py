"""Copies between two backends in one bucket, inside the store."""

from __future__ import annotations

from typing import NamedTuple

from obstore.store import S3Store

from filerow.backends.base import StorageBackend
from filerow.backends.obstore import ObstoreBackend
from filerow.backends.obstore.store import rebuilt


class OneBucket(NamedTuple):
    """The bucket of two backends.

    Attributes:
        whole: A backend on all of it.
        source: The prefix of the first backend's paths there.
        target: The prefix of the second one's.
    """

    whole: StorageBackend
    source: str
    target: str


def one_bucket(origin: StorageBackend, target: StorageBackend) -> OneBucket | None:
    """Return the bucket that two backends share with one account, or ``None``."""
    if not (isinstance(origin, ObstoreBackend) and isinstance(target, ObstoreBackend)):
        return None
    here, there = origin.store, target.store
    if not (isinstance(here, S3Store) and isinstance(there, S3Store)):
        return None
    if (here.config, here.credential_provider) != (there.config, there.credential_provider):
        return None
    store = ObstoreBackend(f"{origin.key} and {target.key}", rebuilt(here, prefix=None))
    return OneBucket(store, _folder(here.prefix), _folder(there.prefix))


def _folder(prefix: str | None) -> str:
    name = (prefix or "").strip("/")
    return f"{name}/" if name else ""
