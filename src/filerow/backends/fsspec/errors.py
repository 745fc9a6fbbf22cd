"""What errors of filesystems mean: by type, by the store's answer, by number."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from filerow.backends._answers import code_in, meaning_of_answer
from filerow.backends._deadlines import is_timeout
from filerow.backends._foreign import clean_message, is_portable, secrets_of
from filerow.backends._status import answer_in, code_of, status_of
from filerow.exceptions import (
    ForkedProcessError,
    InvalidPathError,
    ObjectExistsError,
    StorageError,
    StoragePermissionError,
    StorageTimeoutError,
)

_OF_SMB: Mapping[object, int] = {
    0xC0000022: errno.EACCES,  # STATUS_ACCESS_DENIED
    0xC0000056: errno.ENOENT,  # STATUS_DELETE_PENDING: deleted, and somebody has it open still
}
"""Statuses (MS-ERREF, 2.3) that smbprotocol has no number for."""


def by_number(error: OSError) -> OSError:
    """Return the builtin error of an ``errno``; the error itself if it is that one."""
    meant = OSError(_OF_SMB.get(getattr(error, "ntstatus", None), error.errno), str(error))  # Python chooses the subclass
    return error if isinstance(error, type(meant)) else meant


# -- messages ----------------------------------------------------------------------------------------------------------


def words_of(error: BaseException) -> str:
    """Return the text of an error, or of the store's answer that it stands for."""
    answer = answer_in(error)
    if answer is None or not code_of(error):
        text, status = f"{type(error).__name__}: {error}", status_of(error)
        return text if status is None else f"{text} (HTTP status {status}; a proxy may have answered)"
    return f"{type(error).__name__}: {answer}"


_AS_THEY_ARE = (FileNotFoundError, FileExistsError, TimeoutError, NotImplementedError)
_TAKEN = frozenset({304, 412})
_UNREACHABLE = ("EndpointConnectionError", "ClientConnectorError", "ServiceRequestError", "Cannot connect to host")


def meaning_of(error: BaseException, text: str, operation: str, path: str) -> tuple[type[StorageError] | None, str]:
    """Return our class for an error and its message; ``None`` for builtin types.

    Args:
        error: What the filesystem raised.
        text: What it says, without secrets.
        operation: What was asked for.
        path: Of which object; empty where there is none.
    """
    known = meaning_of_answer(code_of(error) or code_in(str(error)), status_of(error))
    if known is not None:
        return known.kind, f"{known.advice}: {text}"
    if isinstance(error, _AS_THEY_ARE):
        return None, ""
    if isinstance(error, PermissionError) or status_of(error) in {401, 403}:
        what = "they may not delete it, or a lock keeps it" if operation == "delete" else "they may not do this"
        return StoragePermissionError, f"the store refused the credentials, or {what}: {text}"
    if is_timeout(error):
        return StorageTimeoutError, f"the store did not answer in time, which is what timeout= of the backend allows: {text}"
    if "not fork-safe" in text:
        return ForkedProcessError, "this filesystem was used before os.fork(); build it after the fork"
    if operation in {"put", "copy"} and isinstance(error, IsADirectoryError):
        return ObjectExistsError, "a folder is at this path"
    if isinstance(error, IsADirectoryError):
        return None, ""
    return _by_words(error, text, operation, path)


def _by_words(error: BaseException, text: str, operation: str, path: str) -> tuple[type[StorageError], str]:
    if status_of(error) in _TAKEN or "pre-condition" in text or "PreconditionFailed" in text:
        return ObjectExistsError, "an object is at this path already; it was not overwritten"
    if isinstance(error, ConnectionError) or any(name in text for name in _UNREACHABLE):
        return StorageError, (
            f"the store could not be reached; is its endpoint right, host, port and http or https, and does it run? {text}"
        )
    if path and not is_portable(path) and operation not in {"put", "list"}:
        return InvalidPathError, f"the filesystem cannot have a file under such a name: {text}"
    return StorageError, text


# -- the first connection ------------------------------------------------------------------------------------------------------

_LOGIN = ("AuthenticationException", "LogonFailure", "SMBAuthenticationError")


def not_connected(error: BaseException, key: str, url: str, options: Mapping[str, Any]) -> StorageError:
    """Return the error of a backend that cannot be made, for want of a connection.

    Args:
        error: What the filesystem raised.
        key: The backend's key.
        url: Its URL or protocol.
        options: Those of the filesystem.
    """
    parts = urlsplit(url if "://" in url else f"{url}://")
    host = parts.netloc.rpartition("@")[2] or str(options.get("host", ""))
    where = f"{parts.scheme}://{host}"
    password = (parts.password,) if parts.password else ()
    text = clean_message(words_of(error), (*secrets_of(options), *password))
    if isinstance(error, PermissionError) or str(error).startswith("530") or type(error).__name__ in _LOGIN:
        kind: type[StorageError] = StoragePermissionError
        why = "it refused the login; are username and password, or the key, right?"
    elif isinstance(error, FileNotFoundError):
        kind, why = StorageError, "a file that an option names is missing"
    else:
        kind = StorageTimeoutError if is_timeout(error) else StorageError
        why = "it could not be reached; does it run, are host= and port= right, and does no firewall lie between?"
    message = f"no connection to {where}, which fsspec makes with the backend: {why} ({text})"
    return kind(message, operation="connect", backend=key)
