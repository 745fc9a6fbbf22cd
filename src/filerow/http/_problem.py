"""Our errors as RFC 9457 responses, which do not reveal the storage."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any

from filerow._log import extras, logger
from filerow.exceptions import (
    FileValidationError,
    IntegrityError,
    InvalidOptionError,
    InvalidPathError,
    InvalidTokenError,
    ObjectExistsError,
    ObjectHiddenError,
    ObjectNotFoundError,
    RecipeError,
    StorageError,
    StoragePermissionError,
    StorageTimeoutError,
    UnsupportedOperationError,
    UntrustedDocumentError,
    VariantBusyError,
    VariantError,
)
from filerow.http._reply import Reply
from filerow.http._upload import UploadRefusedError

ANSWERED = (FileValidationError, InvalidTokenError, UntrustedDocumentError, StorageError, VariantError)
"""The errors that a client sees."""

BASE = "https://filerow.readthedocs.io/problems#"
"""The prefix of every problem's ``type``; its code follows."""

# What a client sees of a store's failure; the first match wins. None is a fault of the application, which is raised.
_STORAGE: tuple[tuple[type[StorageError], tuple[int, str, str] | None], ...] = (
    (ObjectNotFoundError, (404, "file-not-found", "There is no such file.")),
    (InvalidPathError, (404, "file-not-found", "There is no such file.")),
    (ObjectExistsError, (409, "file-exists", "The file already exists, and files are never overwritten.")),
    (ObjectHiddenError, (404, "file-not-found", "There is no such file.")),
    (StoragePermissionError, (502, "store-refused", "The file store refused the request.")),
    (StorageTimeoutError, (504, "store-timeout", "The file store did not answer in time.")),
    (IntegrityError, (502, "file-corrupt", "The stored file is not the expected one.")),
    (InvalidOptionError, None),
    (UnsupportedOperationError, None),
)

_FAULT_OF_SERVER = 500

RETRY_SECONDS = 5
"""When a client is to ask again that found all workers busy."""

# RFC 9110 renamed them; Python has the new names from 3.13 on.
_RENAMED = {413: "Content Too Large", 422: "Unprocessable Content"}


def problem(error: BaseException) -> Reply:
    """Return the ``application/problem+json`` response (RFC 9457) for an error.

    Each has a stable ``code``, which its ``type`` ends with. A refused file adds ``field``, ``rule``, ``limit`` and ``actual``.
    The response does not say where or how files are stored, so a failure of the store is logged here for the operator.

    Raises:
        BaseException: ``error`` itself, if a client can do nothing about it.
    """
    if isinstance(error, FileValidationError):
        return refusal(error.status_code, error.code, error.message, _members(error, field=error.field, rule=error.rule))
    if isinstance(error, InvalidTokenError):
        return refusal(error.status_code, error.code, error.message, _members(error, field=error.field))
    if isinstance(error, UntrustedDocumentError):
        return refusal(422, "file-as-document", "A file is sent as an upload, not as a document.")
    if isinstance(error, VariantError) and not isinstance(error, RecipeError):
        return variant_refusal(error)
    if isinstance(error, StorageError):
        for kind, answer in _STORAGE:
            if isinstance(error, kind):
                if answer is None:
                    raise error
                return _logged(error, *answer)
        if type(error) is StorageError:
            return _logged(error, 503, "store-unavailable", "The file store is not available.")
    raise error


def upload_refusal(error: UploadRefusedError) -> Reply:
    """Return the response that refuses an upload request."""
    return refusal(error.status, error.code, str(error), _members(error), *error.headers)


def variant_refusal(error: VariantError) -> Reply:
    """Return the response for a variant that cannot be made."""
    if error.status_code >= _FAULT_OF_SERVER:
        fields = extras("variant", error=type(error).__name__, status=error.status_code)
        logger.error("a variant could not be made, so a request was answered with %d: %s", error.status_code, error, extra=fields)
    if isinstance(error, VariantBusyError):
        again = ("retry-after", str(RETRY_SECONDS))
        return refusal(error.status_code, f"variant-{error.code}", "Too many images are being made; try again.", None, again)
    return refusal(error.status_code, f"variant-{error.code}", "This image cannot be shown in another size.")


def gate_refusal(status: int = 403) -> Reply:
    """Return the response for a client that the application does not let upload."""
    return refusal(status, "not-allowed", "You may not upload here.")


def _members(error: FileValidationError | InvalidTokenError | UploadRefusedError, **others: object) -> dict[str, Any]:
    """Return the facts of an error that a client can translate, if known."""
    facts = {**others, "limit": error.limit, "actual": error.actual}
    return {name: value for name, value in facts.items() if value is not None and value != ""}


def _logged(error: StorageError, status: int, code: str, detail: str) -> Reply:
    """Send the client what concerns it, and log the rest."""
    cause = "" if error.__cause__ is None else f" ({type(error.__cause__).__name__})"
    fields = extras("serve", error.backend, error=type(error).__name__, status=status)
    if status >= _FAULT_OF_SERVER:
        logger.error("the store failed, so a request was answered with %d: %s%s", status, error, cause, extra=fields)
    elif isinstance(error, ObjectHiddenError):
        message = "an object is missing or may not be read, so a request was answered with %d: %s%s"
        logger.error(message, status, error, cause, extra=fields)
    elif isinstance(error, ObjectNotFoundError):
        logger.warning(
            "an object is missing, so a request was answered with %d: %s%s; if a row still names it, filerow check finds the row",
            status,
            error,
            cause,
            extra=fields,
        )
    return refusal(status, code, detail)


def refusal(status: int, code: str, detail: str, members: dict[str, Any] | None = None, *headers: tuple[str, str]) -> Reply:
    """Return a problem document.

    Args:
        status: The status code, 400 or more.
        code: A stable word for what is wrong.
        detail: One sentence for people.
        members: Further members.
        *headers: Further headers.
    """
    title = _RENAMED.get(status) or HTTPStatus(status).phrase
    document = {"type": BASE + code, "title": title, "status": status, "detail": detail, "code": code, **(members or {})}
    content = json.dumps(document, default=str).encode()
    return Reply(
        status,
        (
            ("content-type", "application/problem+json"),
            ("cache-control", "no-store"),
            ("x-content-type-options", "nosniff"),
            *headers,
            ("content-length", str(len(content))),
        ),
        content,
    )
