"""References: a stored file as text, for a task queue or another service.

A reference is a sealed token with the file's document. Everybody can read it, and only the application can make or open one. The
file that it opens to belongs to whoever has it now: a row that gets it gets a copy.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from filerow._document import Facts, facts_from, to_document
from filerow._paths import is_reserved
from filerow._registry import storages
from filerow._tokens import LONGEST_TOKEN, Keys, Purpose
from filerow.backends._paths import check_known_path
from filerow.backends._sign_request import whole_seconds
from filerow.exceptions import DocumentError, ExpiredTokenError, InvalidPathError, InvalidTokenError

_LONGEST_LIFE = 100 * 365 * 86400


class Referenced(NamedTuple):
    """What a reference says.

    Attributes:
        facts: The file's.
        public_metadata: The keys of its metadata that clients may see.
        cache_control: The ``Cache-Control`` of its column.
    """

    facts: Facts
    public_metadata: tuple[str, ...] = ()
    cache_control: str | None = None


def seal_reference(file: Referenced, *, expires_in: float, audience: str, keys: Keys) -> str:
    """Return the reference of a stored file.

    Raises:
        DocumentError: The file's metadata is too large.
        InvalidPathError: The path is one that no file has.
        TypeError: ``expires_in`` is not a number, or ``audience`` is not a string.
        ValueError: ``expires_in`` is not positive, or longer than 100 years.
    """
    _check_audience(audience)
    seconds = whole_seconds(expires_in)
    if seconds > _LONGEST_LIFE:
        raise ValueError(f"expires_in must be 1 to {_LONGEST_LIFE} seconds (100 years), not {seconds}")
    facts = file.facts
    _check_path(facts)
    document = {name: value for name, value in to_document(facts).items() if value not in (None, {})}
    said = {"file": document, "audience": audience, "shown": list(file.public_metadata), "cache": file.cache_control}
    token = keys.seal(Purpose.REFERENCE, {name: value for name, value in said.items() if value}, expires_at=time.time() + seconds)
    if len(token) > LONGEST_TOKEN:
        raise DocumentError(
            f"the metadata of {facts.filename!r} is too large for a reference, which would have {len(token)} characters of at "
            f"most {LONGEST_TOKEN}"
        )
    return token


def open_reference(token: str, *, audience: str, keys: Keys) -> Referenced:
    """Return what a reference says.

    Raises:
        InvalidTokenError: It is not a reference, of another application, or for another audience.
        ExpiredTokenError: It has expired.
        DocumentError: Another release of the library made it.
        BackendNotFoundError: The file's backend is not registered in this process.
        InvalidPathError: The path is one that no file has.
        TypeError: ``audience`` is not a string.
    """
    _check_audience(audience)
    said = _unsealed(token, keys)
    if said.get("audience", "") != audience:
        msg = "this reference was made for another audience=; from_reference() takes the one that to_reference() was given"
        raise InvalidTokenError(msg, code="reference-misplaced")
    document = said.get("file")
    if not isinstance(document, Mapping):
        raise DocumentError("this reference was made by another release of filerow; make a new one")
    facts = facts_from(document)
    storages.get_backend(facts.backend)
    _check_path(facts)
    return Referenced(facts, tuple(said.get("shown", ())), said.get("cache"))


def _unsealed(token: str, keys: Keys) -> dict[str, Any]:
    if not isinstance(token, str):
        raise InvalidTokenError(f"a reference is text, not {type(token).__name__}")
    try:
        return keys.unseal(Purpose.REFERENCE, token)
    except ExpiredTokenError:
        raise ExpiredTokenError("this reference has expired; make a new one, or one with a longer expires_in=") from None
    except InvalidTokenError:
        raise InvalidTokenError(
            "this is not a reference of this application, or was changed; whoever makes a reference and whoever opens it "
            "need the same secret"
        ) from None


def _check_audience(audience: object) -> None:
    if not isinstance(audience, str):
        raise TypeError(f"audience must be a string that names who the reference is for, not {audience!r}")


def _check_path(facts: Facts) -> None:
    check_known_path(facts.path, facts.backend, "read")
    if is_reserved(facts.path):
        msg = "this path is reserved for Filerow's own objects"
        raise InvalidPathError(msg, operation="read", backend=facts.backend, path=facts.path)
