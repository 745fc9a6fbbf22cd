"""Check backends with a probe object: write, read, list, delete; and the clock."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from functools import partial
from urllib.parse import urlsplit

from sqlalchemy import MetaData

from filerow._orm.references import file_columns
from filerow._paths import PROBES, STAGING, folders_of, generate_path, generated_at
from filerow._registry import storages
from filerow._tokens import resolve_keys
from filerow.backends.base import ObjectInfo, PutOptions, SignRequest, StorageBackend
from filerow.exceptions import BackendNotFoundError, FilerowError, SecretError, StorageError, StoragePermissionError
from filerow.maintenance._doctor.ask import ask, fetched, in_a_thread, listed
from filerow.maintenance._doctor.database import skew_findings
from filerow.maintenance._doctor.public import public_findings
from filerow.maintenance._doctor.secrets import key_findings, secret_findings
from filerow.maintenance._doctor.stores import part_findings, store_findings
from filerow.maintenance._report import Finding

[_FOLDER] = folders_of(STAGING, PROBES)
_CONTENT = b"Filerow's doctor was here."
_MADE_UP = "https://filerow-doctor.example"
_NO_ANSWER = "no answer"
_REFUSED = 300  # a browser follows no redirect here
_AT_WORK = 3600.0
"""Seconds after which a probe is not that of a doctor who is at work."""


def backend_checks(metadata: MetaData, direct: Sequence[str]) -> Iterator[tuple[str, Callable[[], Iterable[Finding]]]]:
    """Return a check for each backend of a column, and for each direct upload."""
    columns: dict[str, list[str]] = {}
    for column in file_columns(metadata):
        columns.setdefault(column.type.backend, []).append(column.name)
    for key, names in columns.items():
        yield f"backend {key}" if key else "default backend", partial(_backend, key, names)
    for one in direct:
        key, _, origin = one.partition("=")
        yield f"direct upload to {key}", partial(_direct, key, origin)


def _backend(key: str, columns: Sequence[str]) -> Iterator[Finding]:
    try:
        backend = storages.resolve(key)
    except BackendNotFoundError as error:
        yield Finding("backend-missing", str(error), "error", ", ".join(columns), key)
        return
    yield from _probe(backend)
    yield from _signs(backend)


# -- the probe -------------------------------------------------------------------------------------------------------------


def _probe(backend: StorageBackend) -> Iterator[Finding]:
    path = generate_path(STAGING, PROBES, "")
    written = False
    try:
        written = yield from _tried(backend, path)
    finally:
        failed = ask(backend, "delete", path)  # the answer may be all that was lost of a write
    if written:
        for undeleted in failed.values():
            advice = f"allow it to delete; then another run, or filerow sweep, removes {path!r}"
            yield _refused(backend, "delete", undeleted, advice)
        if not failed:  # or each look would leave an object behind
            yield from store_findings(backend)


def _tried(backend: StorageBackend, path: str) -> Generator[Finding, None, bool]:
    """Write a probe and look at it from all sides; return True if it was written."""
    before = time.time()
    try:
        ask(backend, "put", path, _CONTENT, PutOptions(content_type="text/plain", create_only=False))
    except StorageError as error:
        yield _refused(backend, "write", error)
        yield from _lists(backend, None)
        return False
    yield from _reads(backend, path, before)
    yield from _lists(backend, path)
    yield from _shared(backend, path)
    yield from public_findings(backend, path, _CONTENT)
    return True


def _refused(backend: StorageBackend, verb: str, error: FilerowError, advice: str = "") -> Finding:
    if not advice and isinstance(error, StoragePermissionError):
        advice = "give its credentials the permission: to write, read, list and delete"
    elif not advice and verb == "write":
        advice = "is it running, and are endpoint, bucket or folder, and credentials right?"
    return Finding(f"cannot-{verb}", f"cannot {verb}: {error}", backend=backend.key, advice=advice)


def _reads(backend: StorageBackend, path: str, before: float) -> Iterator[Finding]:
    try:
        info: ObjectInfo = ask(backend, "head", path)
        content = ask(backend, "read", path)
    except StorageError as error:
        yield _refused(backend, "read", error)
        return
    if content != _CONTENT:
        yield Finding("cannot-read", "what was written came back as something else", backend=backend.key)
    if info.last_modified is not None:
        # stores report whole seconds
        yield from skew_findings("its clock", info.last_modified, before - 1, time.time(), backend=backend.key)


def _lists(backend: StorageBackend, path: str | None) -> Iterator[Finding]:
    try:
        found = {info.path for info in listed(backend, "list", _FOLDER)}
    except StorageError as error:
        yield _refused(backend, "list", error)
        return
    left = [one for one in sorted(found) if _is_left(one)]
    if left:
        ask(backend, "delete", left)
    if path is not None and path not in found:
        advice = "filerow sweep works on listings, which this store lets lag behind"
        yield Finding("cannot-list", "what was written a moment ago is not listed", "warning", backend=backend.key, advice=advice)


def _is_left(path: str) -> bool:
    """Return True if a path is a probe whose process did not remove it."""
    moment = generated_at(path, STAGING, PROBES)
    return moment is not None and time.time() - moment > _AT_WORK


def _shared(backend: StorageBackend, path: str) -> Iterator[Finding]:
    """Find other backends that show the same object: one place, two keys."""
    for key in storages.registered_backends():
        other = storages.get_backend(key)
        try:
            if other is not backend and ask(other, "exists", path):
                yield Finding(
                    "same-place",
                    f"backends {backend.key!r} and {key!r} are the same place, so each takes the other's files for orphans",
                    backend=backend.key,
                    advice="give each a prefix of its own",
                )
        except StorageError:
            continue  # its own check reports it


# -- URLs ------------------------------------------------------------------------------------------------------------------


def _signs(backend: StorageBackend) -> Iterator[Finding]:
    if not backend.capabilities.sign_get:
        return
    try:
        url: str = ask(backend, "sign", f"{_FOLDER}/signed", SignRequest("GET", 60))
    except SecretError as error:
        advice = "set FILEROW_SECRET, the same for all processes, or pass secret= to the backend"
        yield from secret_findings(error, backend.key, "error", advice)
        return
    except FilerowError as error:
        yield Finding("cannot-sign", str(error), "warning", backend=backend.key)
        return
    if backend.own_urls is not None:
        yield from key_findings(backend.own_urls.keys(), backend.key)
    parts = urlsplit(url)
    if backend.own_urls is None and parts.scheme == "http" and not _is_loopback(parts.hostname or ""):
        message = f"its URLs are plain http ({parts.hostname}), so who sees one on its way can use it"
        yield Finding("plain-http", message, "info", backend=backend.key, advice="use https")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


# -- direct upload ---------------------------------------------------------------------------------------------------------


def _direct(key: str, origin: str) -> Iterator[Finding]:
    try:
        backend = storages.get_backend(key)
    except BackendNotFoundError as error:
        yield Finding("backend-missing", str(error), backend=key)
        return
    try:
        keys = resolve_keys(None, user="claims")
    except SecretError as error:
        advice = "set FILEROW_SECRET, the same for all processes; or pass secret= to DirectUploads, then this does not matter"
        yield from secret_findings(error, key, "info", advice)
    else:
        yield from key_findings(keys, key)
    if backend.own_urls is not None:
        return  # uploads go to the application itself
    try:
        url = ask(backend, "sign", f"{_FOLDER}/direct", SignRequest("PUT", 60))
    except FilerowError as error:
        yield Finding("cannot-sign", f"clients cannot upload straight to it: {error}", backend=key)
        return
    if backend.protocol == "s3":
        yield from part_findings(backend)
    for method in ("POST", "PUT") if backend.protocol == "s3" else ("PUT",):
        answer = in_a_thread(_preflight, url, method, origin or _MADE_UP)
        if answer is not None:
            if backend.public_endpoint is None or not answer.startswith(_NO_ANSWER):  # reported of the public host as a whole
                yield _cors(key, method, origin, answer)
            return


def _preflight(url: str, method: str, origin: str) -> str | None:
    """Ask as a browser before it uploads; ``None`` if it may, else the answer."""
    headers = {"Origin": origin, "Access-Control-Request-Method": method, "Access-Control-Request-Headers": "content-type"}
    answer = fetched(url, "OPTIONS", headers)
    if answer.status == 0:
        return f"{_NO_ANSWER}: {answer.text}"
    if answer.status >= _REFUSED:
        return f"HTTP {answer.status}: {answer.text}"
    return None if answer.headers.get("Access-Control-Allow-Origin") in {"*", origin} else "it allows no origin"


def _cors(key: str, method: str, origin: str, answer: str) -> Finding:
    advice = "add a CORS rule to the bucket: your pages' origin, methods POST and PUT, all headers, ETag exposed"
    if origin or "not enabled" in answer:
        asked = f" from {origin}" if origin else ""
        return Finding("cors", f"browsers may not {method}{asked}: {answer}", backend=key, advice=advice)
    message = f"a page of an unknown origin may not {method}, which is right if yours may: {answer}"
    return Finding("cors-unknown", message, "info", backend=key, advice=f"name your pages' origin: --direct {key}=https://…")
