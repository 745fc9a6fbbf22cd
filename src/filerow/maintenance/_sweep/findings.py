"""The findings of a sweep."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from filerow._orm.references import FileColumn
from filerow.backends._types import Unfinished
from filerow.exceptions import StorageError, UnsupportedOperationError
from filerow.maintenance._derived import StoredVariant
from filerow.maintenance._listing import Folder, Mirror
from filerow.maintenance._report import Finding, Level
from filerow.maintenance._sweep.judge import Count

_DRY = "; would delete it"


def orphan(
    folder: Folder, path: str, size: int | None, *, error: StorageError | None = None, fixed: bool = False, dry: bool = False
) -> Finding:
    """Report an object that no row names."""
    amount = "" if size is None else f" of {size:,} bytes"
    message = f"no row names this object{amount}{_DRY if dry else ''}"
    if error is not None:
        message += f", and it could not be deleted: {error}"
    return Finding("orphan", message, "error" if error else "warning", folder.step, folder.backend, path, fixed=fixed)


def orphaned_variant(
    mirror: Mirror, one: StoredVariant, *, error: StorageError | None = None, fixed: bool = False, dry: bool = False
) -> Finding:
    """Report a variant, or a note in its place, whose original is gone."""
    amount = "" if one.info.size is None else f" of {one.info.size:,} bytes"
    what = "note that a variant cannot be made" if one.is_note else f"variant{amount}"
    message = f"the original of this {what} is gone{_DRY if dry else ''}"
    if error is not None:
        message += f", and it could not be deleted: {error}"
    level: Level = "error" if error else "warning"
    return Finding("orphan-variant", message, level, mirror.step, mirror.backend, one.info.path, fixed=fixed)


def unknown_originals(mirror: Mirror, unknown: Mapping[str, StorageError]) -> Finding:
    """Report that a store did not say whether objects are there."""
    path, error = next(iter(unknown.items()))
    message = f"the store does not say whether this object is there, so its variants are kept: {error}"
    advice = "allow s3:ListBucket (storage.objects.list on Google): without it a store hides what is missing"
    return Finding("unreadable", message, "warning", mirror.step, mirror.backend, path, advice=advice)


def unfinished(folder: Folder | Mirror, upload: Unfinished, *, error: StorageError | None, dry: bool) -> Finding:
    """Report an upload that never ended."""
    message = "an upload was begun and never ended; its bytes take up space, but listings do not show them"
    message += _DRY if dry else ""
    if error is not None:
        message += f"; it could not be aborted: {error}"
    level: Level = "error" if error else "warning"
    return Finding("unfinished-upload", message, level, folder.step, folder.backend, upload.path, fixed=not dry and error is None)


def unasked(folder: Folder | Mirror, error: StorageError) -> Finding:
    """Report that a store could not be asked for uploads that never ended."""
    level: Level = "info" if isinstance(error, UnsupportedOperationError) else "warning"
    message = f"uploads that never ended could not be looked for: {error}"
    advice = "let a lifecycle rule of the bucket abort incomplete uploads"
    return Finding("unfinished-upload", message, level, f"backend {folder.backend}", folder.backend, advice=advice)


def suspicious(folder: Folder, step: Count, total: Count) -> Finding:
    """Report that too many objects have no row."""
    worst = max(step, total, key=lambda count: count.orphans / max(count.judged, 1))
    return Finding(
        "too-many-orphans",
        f"{worst.orphans:,} of {worst.judged:,} objects have no row; it may be the wrong database, or the wrong prefix",
        where=folder.step,
        backend=folder.backend,
        advice="look at what a dry run finds; if it is right, set allow_many=True (--allow-many)",
    )


def open_transaction(since: float) -> Finding:
    """Report that a transaction has been open for longer than the grace period."""
    moment = datetime.fromtimestamp(since, UTC).isoformat(timespec="seconds")
    message = (
        f"a transaction that has written is open since {moment}, and may name newer objects: they are judged when it has ended"
    )
    advice = (
        "end it if nobody else will; for one left by PREPARE TRANSACTION or XA PREPARE look into pg_prepared_xacts or XA RECOVER"
    )
    return Finding("open-transaction", message, "warning", advice=advice)


def guest(folder: Folder | Mirror) -> Finding:
    """Report that a backend is not swept, since it belongs to somebody else."""
    return Finding("guest", "it is registered with deletes=False, so nothing of it is deleted", "info", backend=folder.backend)


def custom_paths(column: FileColumn) -> Finding:
    """Report that a column's own paths are not swept."""
    message = "path= chooses its paths, and only generated ones can be distinguished from other objects: they are not swept"
    return Finding("custom-paths", message, "info", column.name, advice="after a crash, look for objects without a row yourself")
