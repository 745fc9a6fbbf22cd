"""Check what variants need: workers, and who answers their URLs.

Pillow is there where a column declares variants: their recipes cannot be imported without it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sqlalchemy import MetaData

from filerow._document import Facts
from filerow._execution.batch import call
from filerow._orm.references import FileColumn, file_columns
from filerow._registry import storages
from filerow.backends.base import StorageBackend
from filerow.exceptions import BackendNotFoundError, SecretError, StorageError, WorkerError
from filerow.maintenance._doctor.secrets import secret_findings
from filerow.maintenance._report import Finding

_WANTED = ("files", "network", "processes")
_EXAMPLE = "example.png"


def columns_with_variants(metadata: MetaData) -> list[FileColumn]:
    """Return the columns that declare variants."""
    return [column for column in file_columns(metadata) if column.type.variants]


def variant_findings(columns: Sequence[FileColumn]) -> Iterator[Finding]:
    """Find what keeps variants from being made, shown, or made safely."""
    where = columns[0].name
    yield from _workers(where)
    for key in dict.fromkeys(column.type.backend for column in columns):
        try:
            yield from _url(storages.resolve(key))
        except BackendNotFoundError:  # reported as backend-missing
            continue
    message = "whether the application has mounted routes(), which makes variants at first use, cannot be seen from here"
    advice = "open the URL of a variant in a browser; see docs/variants.md"
    yield Finding("variants-route", message, "info", where, advice=advice)


def _workers(where: str) -> Iterator[Finding]:
    from filerow.variants._workers import default_workers  # of an extra

    workers = default_workers()
    if workers.inline:
        message = "images are decoded in the process that asks (inline=True), so a hostile one meets its memory and secrets"
        yield Finding("variants-inline", message, "warning", where, advice="fine where all files are your own")
        return
    try:
        held = call(workers.protections, workers.protections_async)
    except WorkerError as error:
        yield Finding("variants-no-worker", f"no worker can be started, so no variant is made: {error}", "error", where)
        return
    lacking = [one for one in _WANTED if one not in held]
    if lacking:
        message = f"a worker that decodes a hostile image could reach: {', '.join(lacking)}"
        advice = "make variants of strangers' files on Linux with seccomp; see docs/variants.md"
        yield Finding("variants-unconfined", message, "warning", where, advice=advice)


def _url(backend: StorageBackend) -> Iterator[Finding]:
    from filerow._recipes import Thumbnail, variant_id
    from filerow.variants._urls import VariantLink, variant_urls

    facts = Facts(backend.key, _EXAMPLE, size=1, last_modified=1.0)
    recipe = Thumbnail(1, 1)
    link = VariantLink(variant_id(facts, recipe), 1, "", "", "", recipe.content_type, "inline")
    try:
        variant_urls().sign(backend, facts.path, link)
    except SecretError as error:
        advice = "set FILEROW_SECRET, or filerow.variants.configure_urls(secret=...)"
        yield from secret_findings(error, backend.key, "error", advice)
    except StorageError as error:
        yield Finding("variants-url", f"its variants have no URLs: {error.message}", "error", backend=backend.key)
