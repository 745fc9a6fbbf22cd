"""What an error of obstore means, and what to do about it."""

from __future__ import annotations

import re

from obstore import exceptions as native

from filerow.backends._answers import BUSY_CODES, NO_PLACE, REFUSED_KEYS, code_in, meaning_of_answer
from filerow.backends._foreign import is_portable
from filerow.backends.obstore.credentials import ABSENT_KEYS
from filerow.exceptions import (
    InvalidPathError,
    ObjectExistsError,
    ObjectNotFoundError,
    StorageError,
    StoragePermissionError,
    StorageTimeoutError,
    UnsupportedOperationError,
)

BUSY = frozenset({429, 500, 502, 503, 504})
"""HTTP statuses of a store that may do the same a little later."""

TAKEN = (native.AlreadyExistsError, native.PreconditionError, native.NotModifiedError)
"""What a conditional write to a path that is taken ends with; the last from stores that take it for a condition to read."""

_STATUS = re.compile(r"status code: (\d{3})")
_NOT_ALLOWED = re.compile(r"\(code: (?:403|AccessDenied)\)")  # for one object of a bulk delete
_NO_CREDENTIALS = {
    "/latest/api/token": ABSENT_KEYS,
    "/latest/meta-data/": ABSENT_KEYS,
    "computeMetadata": (
        "give service_account_key= or application_credentials=; or, for 'gcloud auth application-default login' and for workload "
        " identity, credential_provider=GoogleCredentialProvider() of obstore.auth.google, which cannot sign URLs"
    ),
    "MicrosoftAzure error: Error performing token request": (
        "give account_key=, or client_id=, tenant_id= and client_secret=; or, for 'az login' and managed identities, "
        "credential_provider=AzureCredentialProvider() of obstore.auth.azure"
    ),
}
"""Where obstore asks for the credentials of a cloud's own machines, and what to do elsewhere."""


def status_of(error: BaseException) -> int | None:
    """Return the HTTP status in an error of obstore."""
    found = _STATUS.search(str(error))
    return int(found[1]) if found else None


def is_answer(error: BaseException) -> bool:
    """Return True if a store answered with success, and the answer reports a failure."""
    return isinstance(error, native.BaseError) and any(
        sign in str(error) for sign in ("Server returned error response", "ETag Header missing")
    )


def is_busy(error: BaseException) -> bool:
    """Return True if a store is busy, whatever the status of its answer."""
    return code_in(str(error)) in BUSY_CODES


def is_refused_key(error: BaseException) -> bool:
    """Return True if a store refused the credentials as wrong or too old."""
    return code_in(str(error)) in REFUSED_KEYS


def says_why(error: BaseException) -> bool:
    """Return True if a store gives a reason for a refusal: the object exists."""
    return code_in(str(error)) not in {"", "AccessDenied", "Forbidden"}


def meaning_of(error: BaseException, raw: str, text: str, operation: str, path: str) -> tuple[type[StorageError] | None, str]:
    """Return our class for a native error and its message; ``None`` for others.

    Args:
        error: What obstore raised.
        raw: What it says.
        text: The same in a line, without secrets.
        operation: What was asked for.
        path: Of which object.
    """
    known = meaning_of_answer(code_in(raw), status_of(error)) if isinstance(error, (native.BaseError, OSError)) else None
    if known is not None:
        return known.kind, f"{known.advice}: {text}"
    kind, message = _by_kind(error, text, operation, path)
    found = next((advice for sign, advice in _NO_CREDENTIALS.items() if sign in text), None)
    if found is not None and isinstance(error, native.BaseError):
        return StoragePermissionError, (
            "no credentials were given, as options of the backend or in the environment, so the cloud was asked for those of "
            f"this machine, and gave none; {found}: {text}"
        )
    if kind is StorageError and _TIMED_OUT.search(raw):
        return StorageTimeoutError, f"the store did not answer in time, which is what timeout= of the backend allows: {message}"
    if kind is StorageError and code_in(raw) in NO_PLACE:
        return kind, f"the bucket or container does not exist: {message}"
    advice = next((advice for sign, advice in _ADVICE.items() if sign in text), "") if kind is StorageError else ""
    return kind, advice + message


_TIMED_OUT = re.compile(r"kind: Timeout|source: TimedOut")  # only the native error's debug part says so
_ADVICE = {
    "error sending request": (
        "the store could not be reached; is its endpoint right, host, port and http or https, and does it run? "
    ),
    "redirect without LOCATION": (
        "the bucket is in another region, or at another endpoint; give the backend its region (aws_region=): "
    ),
    "ETag Header missing": (
        "this is not the answer of such a store; is the endpoint right, and does nothing stand before it that answers for it? "
    ),
    "invalid DeleteObjects response": "the store's answer to DeleteObjects could not be read: ",
    "x-amz-checksum- HTTP header is required": (
        "the bucket has object lock, which demands a checksum of each write; give the backend checksum='sha256': "
    ),
    "copy source is larger than": "the store copies no object this large in one request: ",
}


def _by_kind(error: BaseException, text: str, operation: str, path: str) -> tuple[type[StorageError] | None, str]:
    writes = operation in {"put", "copy"}
    refused = "400 Bad Request" in text or "code: InvalidRequest" in text
    kind: type[StorageError] | None = None
    # obstore asks again for the rest of a body that broke off, and does not translate the answer
    if operation == "read" and isinstance(error, native.GenericError) and status_of(error) == 404:  # noqa: PLR2004 - Not Found
        return ObjectNotFoundError, f"the object was deleted while it was read: {text}"
    if _is_forbidden(error):
        what = "they may not delete it, or a lock keeps it" if operation == "delete" else "they may not do this"
        kind, text = StoragePermissionError, f"the store refused the credentials, or {what}: {text}"
    elif writes and isinstance(error, TAKEN):
        kind, text = ObjectExistsError, "an object is at this path already; it was not overwritten"
    elif isinstance(error, FileNotFoundError) and (operation == "put" or NO_PLACE.intersection(re.findall(r"\w+", text))):
        kind, text = ObjectNotFoundError, f"the bucket or container does not exist: {text}"
    elif isinstance(error, (native.NotSupportedError, NotImplementedError)):
        kind, text = UnsupportedOperationError, f"this store cannot do this: {text}"
    elif refused and path and not writes and not is_portable(path):
        kind, text = InvalidPathError, f"the store cannot have an object under such a name: {text}"
    elif isinstance(error, native.BaseError):
        kind = StorageError
    elif isinstance(error, ValueError):
        kind = InvalidPathError
    elif type(error).__name__ in {"PanicException", "RustPanic"}:
        kind, text = StorageError, f"the native code of obstore panicked, a fault in it or in what it was given: {text}"
    return kind, text


def _is_forbidden(error: BaseException) -> bool:
    if isinstance(error, (native.PermissionDeniedError, native.UnauthenticatedError)):
        return True
    # S3 and Azure answer a bulk delete with a code for each object, which obstore does not translate, nor those of S3's listings.
    refused = _NOT_ALLOWED.search(str(error)) is not None or status_of(error) in {401, 403}
    return refused and isinstance(error, native.GenericError)
