"""What an error of obstore means, in words that say what to do about it."""

from __future__ import annotations

import html
import re

from obstore import exceptions as native

from filerow.backends._foreign import is_portable
from filerow.exceptions import (
    InvalidPathError,
    ObjectExistsError,
    ObjectNotFoundError,
    StorageError,
    StoragePermissionError,
    StorageTimeoutError,
    UnsupportedOperationError,
)

__all__ = ("BUSY", "is_refused_key", "meaning_of", "status_of")

_XML_ERROR = re.compile(r"(?:<\?xml[^>]*>\s*)?<Error>.*?<Code>([^<]*)</Code>.*?<Message>([^<]*)</Message>.*?</Error>", re.DOTALL)
BUSY = frozenset({429, 500, 502, 503, 504})
"""HTTP statuses of a store that may do the same a little later."""

_STATUS = re.compile(r"status code: (\d{3})")
_REFUSED_KEYS = re.compile(
    r"ExpiredToken|InvalidAccessKeyId|InvalidSecurity|InvalidToken|RequestTimeTooSkewed|SignatureDoesNotMatch|TokenRefreshRequired"
)
_NO_CREDENTIALS = ("169.254.169.254", "metadata.google.internal")  # where a cloud gives its own machines credentials


def status_of(error: BaseException) -> int | None:
    """Return the HTTP status that an error of obstore tells of."""
    found = _STATUS.search(str(error))
    return int(found[1]) if found else None


def is_refused_key(error: BaseException) -> bool:
    """Return True if a store's answer says that the credentials themselves are wrong or too old."""
    return _REFUSED_KEYS.search(str(error)) is not None


def meaning_of(
    error: BaseException, text: str, operation: str, path: str, *, timed_out: bool
) -> tuple[type[StorageError] | None, str]:
    """Return which of our errors a native one is, ``None`` for none of obstore's, and its message.

    Args:
        error: What obstore raised.
        text: What it says, without secrets.
        operation: What was asked for.
        path: Of which object.
        timed_out: Whether the store was silent for too long.
    """
    text = _XML_ERROR.sub(lambda found: html.unescape(f"{found[1]}: {found[2]}"), text)
    kind, message = _by_kind(error, text, operation, path)
    if kind is StorageError and timed_out:
        return StorageTimeoutError, f"the store did not answer in time, which is what timeout= of the backend allows: {message}"
    if isinstance(error, native.BaseError) and any(host in text for host in _NO_CREDENTIALS):
        return kind, (
            "no credentials were given, as options of the backend or in the environment, so the cloud was asked for those of "
            f"this machine, and gave none: {text}"
        )
    if kind is StorageError and "error sending request" in text:
        return kind, (
            "the store could not be reached; is its endpoint right, host, port and http or https, and does it run? " + message
        )
    return kind, message


def _by_kind(error: BaseException, text: str, operation: str, path: str) -> tuple[type[StorageError] | None, str]:
    writes = operation in {"put", "copy"}
    refused = "400 Bad Request" in text or "code: InvalidRequest" in text
    kind: type[StorageError] | None = None
    # obstore asks again for the rest of a body that broke off, and does not translate the answer
    if operation == "read" and isinstance(error, native.GenericError) and status_of(error) == 404:  # noqa: PLR2004 - Not Found
        return ObjectNotFoundError, f"the object was deleted while it was read: {text}"
    # Azure answers a bulk delete with a status for each object, which obstore does not translate.
    # S3's listings do not translate theirs either.
    forbidden = isinstance(error, native.GenericError) and ("(code: 403)" in text or status_of(error) in {401, 403})
    if forbidden or isinstance(error, (native.PermissionDeniedError, native.UnauthenticatedError)):
        kind, text = StoragePermissionError, f"the store refused the credentials, or they may not do this: {text}"
    elif writes and isinstance(error, (native.AlreadyExistsError, native.PreconditionError)):
        kind, text = ObjectExistsError, "an object is at this path already; it was not overwritten"
    elif operation == "put" and isinstance(error, FileNotFoundError):
        kind, text = ObjectNotFoundError, f"the bucket or container does not exist: {text}"
    elif isinstance(error, (native.NotSupportedError, NotImplementedError)):
        kind, text = UnsupportedOperationError, f"this store cannot do this: {text}"
    elif refused and not writes and not is_portable(path):
        kind, text = InvalidPathError, f"the store cannot have an object under such a name: {text}"
    elif isinstance(error, native.BaseError):
        kind = StorageError
    elif isinstance(error, ValueError):
        kind = InvalidPathError
    elif type(error).__name__ in {"PanicException", "RustPanic"}:
        kind, text = StorageError, f"the native code of obstore panicked, a fault in it or in what it was given: {text}"
    return kind, text
