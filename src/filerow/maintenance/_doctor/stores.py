"""Check what a store lacks and keeps, and what the credentials may not do."""

from __future__ import annotations

from collections.abc import Iterator

from filerow.backends._conditions import probe_path
from filerow.backends.base import PutOptions, StorageBackend
from filerow.exceptions import ObjectHiddenError, StorageError, UnsupportedOperationError
from filerow.maintenance._doctor.ask import ask, in_a_thread, listed
from filerow.maintenance._report import Finding, Level

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
    """Find what a store, and its credentials, cannot do."""
    yield from _limits(backend)
    yield from _copies(backend)
    yield from _shows_missing(backend)
    yield from _shows_unfinished(backend)


def _limits(backend: StorageBackend) -> Iterator[Finding]:
    try:
        found = ask(backend, "limits")
    except StorageError as error:
        yield Finding("cannot-ask", f"what its store can do could not be found out: {error}", "warning", backend=backend.key)
        return
    for name, sentence in found.items():
        code, level, advice = _FOUND.get(name, (name, "info", ""))
        yield Finding(code, sentence, level, backend=backend.key, advice=advice)


def _copies(backend: StorageBackend) -> Iterator[Finding]:
    source, target = probe_path(), probe_path()
    try:
        ask(backend, "put", source, b"?", PutOptions(create_only=False))
        try:
            ask(backend, "copy", source, target, create_only=False)
        except StorageError as error:
            advice = (
                "assigning a file to a second row and direct uploads copy; the copy needs to read and to write, and tags as well"
            )
            yield Finding("cannot-copy", f"cannot copy: {error}", backend=backend.key, advice=advice)
        finally:
            ask(backend, "delete", [source, target])
    except StorageError:
        return  # that it cannot be written to is reported already


def _shows_missing(backend: StorageBackend) -> Iterator[Finding]:
    try:
        ask(backend, "head", probe_path())
    except ObjectHiddenError as error:
        message = f"missing files look like forbidden ones: {error.message}"
        advice = "allow s3:ListBucket (storage.objects.list on Google); filerow check and filerow sweep need it"
        yield Finding("missing-hidden", message, "warning", backend=backend.key, advice=advice)
    except StorageError:
        return  # it is missing, as it should be; that nothing can be read is reported already


def _shows_unfinished(backend: StorageBackend) -> Iterator[Finding]:
    try:
        listed(backend, "unfinished", "staged", 1)
    except UnsupportedOperationError:
        return  # the store keeps none, or the extra is missing that asks for them
    except StorageError as error:
        message = f"filerow sweep cannot end uploads that were begun and never completed: {error}"
        advice = "allow s3:ListBucketMultipartUploads and s3:AbortMultipartUpload, or have a lifecycle rule end them"
        yield Finding("cannot-list-uploads", message, "warning", backend=backend.key, advice=advice)


def part_findings(backend: StorageBackend) -> Iterator[Finding]:
    """Find what keeps clients from uploading in parts to S3."""
    from filerow.backends.obstore.backend import direct_of  # it needs obstore

    path, upload = probe_path(), ""
    try:
        direct = direct_of(backend)
    except UnsupportedOperationError:
        return  # that clients cannot upload straight to it is reported already
    try:
        upload = in_a_thread(direct.start, path, "text/plain", "attachment")
        in_a_thread(direct.parts, path, upload)
    except StorageError as error:
        advice = "allow s3:PutObject, s3:ListMultipartUploadParts and s3:AbortMultipartUpload"
        yield Finding("cannot-upload-parts", f"cannot upload in parts: {error}", "warning", backend=backend.key, advice=advice)
    if not upload:
        return
    try:
        in_a_thread(direct.abort, path, upload)
    except StorageError as error:
        message = f"cannot abort an upload in parts, so what was sent of it stays: {error}"
        yield Finding("cannot-abort", message, "warning", backend=backend.key, advice="allow s3:AbortMultipartUpload")
