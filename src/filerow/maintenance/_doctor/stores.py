"""What the doctor asks of a store beyond writing and reading: what it lacks and keeps, and what the credentials may not do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

from filerow._execution.batch import call
from filerow.backends._conditions import probe_path
from filerow.backends.base import PutOptions, StorageBackend
from filerow.exceptions import ObjectHiddenError, StorageError, UnsupportedOperationError
from filerow.maintenance._report import Finding, Level

__all__ = ("part_findings", "store_findings")

_FOUND: dict[str, tuple[str, Level, str]] = {
    "create-only": (
        "no-create-only",
        "warning",
        "let Filerow make all paths: to_filename=, a path= without its token and direct uploads need If-None-Match",
    ),
    "bulk-delete": ("no-bulk-delete", "info", "aws_disable_bulk_delete=True saves each process a request"),
    "versions": (
        "versioned",
        "info",
        "give the bucket a lifecycle rule: NoncurrentVersionExpiration, and ExpiredObjectDeleteMarker (docs/stores.md)",
    ),
}


def store_findings(backend: StorageBackend) -> Iterator[Finding]:
    """Find what a store cannot do, and what its credentials may not do, of a backend that can be written to."""
    yield from _limits(backend)
    yield from _copies(backend)
    yield from _tells_missing(backend)
    yield from _tells_unfinished(backend)


def _limits(backend: StorageBackend) -> Iterator[Finding]:
    try:
        found = call(backend.limits, backend.limits_async)
    except StorageError as error:
        yield Finding("cannot-ask", f"what its store can do could not be found out: {error}", "warning", backend=backend.key)
        return
    for name, sentence in found.items():
        code, level, advice = _FOUND.get(name, (name, "info", ""))
        yield Finding(code, sentence, level, backend=backend.key, advice=advice)


def _copies(backend: StorageBackend) -> Iterator[Finding]:
    source, target = probe_path(), probe_path()
    try:
        call(backend.put, backend.put_async, source, b"?", PutOptions(create_only=False))
        try:
            call(_copy, _copy_async, backend, source, target)
        except StorageError as error:
            advice = (
                "assigning a file to a second row and direct uploads copy; the copy needs to read and to write, and tags as well"
            )
            yield Finding("cannot-copy", f"cannot copy: {error}", backend=backend.key, advice=advice)
        finally:
            call(backend.delete, backend.delete_async, [source, target])
    except StorageError:
        return  # that it cannot be written to is told already


def _copy(backend: StorageBackend, source: str, target: str) -> Any:
    return backend.copy(source, target, create_only=False)


async def _copy_async(backend: StorageBackend, source: str, target: str) -> Any:
    return await backend.copy_async(source, target, create_only=False)


def _tells_missing(backend: StorageBackend) -> Iterator[Finding]:
    try:
        call(backend.head, backend.head_async, probe_path())
    except ObjectHiddenError as error:
        message = f"missing files look like forbidden ones: {error.message}"
        advice = "allow s3:ListBucket (storage.objects.list on Google); filerow check and filerow sweep need it"
        yield Finding("missing-hidden", message, "warning", backend=backend.key, advice=advice)
    except StorageError:
        return  # it is missing, as it should be; that nothing can be read is told already


def _tells_unfinished(backend: StorageBackend) -> Iterator[Finding]:
    try:
        call(_first_unfinished, _first_unfinished_async, backend)
    except UnsupportedOperationError:
        return  # the store keeps none, or the extra is missing that asks for them
    except StorageError as error:
        message = f"filerow sweep cannot end uploads that were begun and never completed: {error}"
        advice = "allow s3:ListBucketMultipartUploads and s3:AbortMultipartUpload, or have a lifecycle rule end them"
        yield Finding("cannot-list-uploads", message, "warning", backend=backend.key, advice=advice)


def _first_unfinished(backend: StorageBackend) -> None:
    list(islice(backend.unfinished("staged"), 1))


async def _first_unfinished_async(backend: StorageBackend) -> None:
    async for _ in backend.unfinished_async("staged"):
        return


def part_findings(backend: StorageBackend) -> Iterator[Finding]:
    """Find what keeps clients from uploading in parts to S3: begin such an upload, ask for its parts, end it."""
    from filerow.backends.obstore.backend import direct_of  # it needs obstore

    path, upload = probe_path(), ""
    try:
        direct = direct_of(backend)
    except UnsupportedOperationError:
        return  # that clients cannot upload straight to it is told already
    try:
        upload = _step(direct.start, path, "text/plain", "attachment")
        _step(direct.parts, path, upload)
    except StorageError as error:
        advice = "allow s3:PutObject, s3:ListMultipartUploadParts and s3:AbortMultipartUpload"
        yield Finding("cannot-upload-parts", f"cannot upload in parts: {error}", "warning", backend=backend.key, advice=advice)
    if not upload:
        return
    try:
        _step(direct.abort, path, upload)
    except StorageError as error:
        message = f"cannot abort an upload in parts, so what was sent of it stays: {error}"
        yield Finding("cannot-abort", message, "warning", backend=backend.key, advice="allow s3:AbortMultipartUpload")


def _step(function: Callable[..., Any], *args: Any) -> Any:
    from filerow.backends.obstore.s3 import S3Direct

    step = S3Direct.call(function, *args)
    return call(step.sync, step.native, *step.args)
