"""What every backend must do: a module per theme, a function per case."""

from __future__ import annotations

from filerow.testing._case import CASES
from filerow.testing.cases import (
    _bytes,
    _cancellation,
    _concurrency,
    _copies,
    _create_only,
    _deletes,
    _errors,
    _event_loop,
    _headers,
    _large,
    _listings,
    _paths,
    _ranges,
    _signed_urls,
    _sources,
)

__all__ = ("CASES",)

del _bytes, _cancellation, _concurrency, _copies, _create_only, _deletes, _errors, _event_loop, _headers, _large
del _listings, _paths, _ranges, _signed_urls, _sources
