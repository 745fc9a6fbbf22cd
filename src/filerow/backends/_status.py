"""The store's answer below an error of its client: HTTP status and error code."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple


class _Answer(NamedTuple):
    status: int | None
    code: str


def answer_in(error: BaseException) -> BaseException | None:
    """Return the error with the store's answer; ``None`` if there was no answer."""
    return next((one for one in _chain(error) if _read(one) is not None), None)


def status_of(error: BaseException) -> int | None:
    """Return the HTTP status that an error comes from, if it is known."""
    return next((found.status for found in map(_read, _chain(error)) if found is not None), None)


def code_of(error: BaseException) -> str:
    """Return the store's error code, else its status; empty without an answer."""
    return next((found.code for found in map(_read, _chain(error)) if found is not None), "")


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:  # an error that was raised from itself is its own cause
        seen.add(id(error))
        yield error
        # adlfs calls every conflict a name that is taken, and does not say what it was
        error = error.__cause__ or (error.__context__ if isinstance(error, FileExistsError) else None)


def _read(error: Any) -> _Answer | None:
    response = getattr(error, "response", None)
    if isinstance(response, Mapping) and "ResponseMetadata" in response:  # botocore's ClientError
        code = response.get("Error", {}).get("Code")
        return _Answer(response["ResponseMetadata"].get("HTTPStatusCode"), str(code or ""))
    status = getattr(error, "status_code", None)
    if isinstance(status, int) and hasattr(error, "error_code"):  # azure.core's HttpResponseError
        return _Answer(status, getattr(error.error_code, "value", error.error_code) or "")
    number = getattr(error, "code", None)
    if type(error).__name__ == "HttpError" and str(number).isdigit():  # gcsfs's
        return _Answer(int(str(number)), "")
    return None
