"""Direct upload: the browser uploads to the store and gets a claim for it.

::

    uploads = DirectUploads(Document.file)

    ticket = uploads.begin(filename="cat.png", content_type="image/png", size=48_213)  # in your handler, for its user
    ...  # the client uploads to ticket.url, and sends ticket.claim with its form
    document.file = uploads.claim(claim)  # checks what is stored; the commit makes the row its owner

Nothing is mounted automatically. Everybody who may call ``begin`` may upload: protect it with your application's authorization.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping
from typing import Any

from filerow._content import Content
from filerow._execution.steps import Steps, run, run_async
from filerow._file.object import FileObject, claimed_file
from filerow._media_types import claimed_type
from filerow._paths import CLAIM_LIFE, CLAIMS, STAGING, clean_filename, generate_path
from filerow._registry import storages
from filerow._tokens import Keys, Secret, resolve_keys
from filerow._validation.rules import parse_size
from filerow.backends._stored_with import check_kept
from filerow.direct._claims import Claim, Target, check_once_steps, plain_rules, target_of
from filerow.direct._policies import S3Method, Ticket, abort_steps, start_steps, ticket_steps
from filerow.direct._redeem import of_field, redeem_steps
from filerow.exceptions import ClaimError, FileValidationError

_LONGEST_NAME = 1024
_LONGEST_TYPE = 255
_NUMBER = re.compile(r"[0-9]{1,5}\Z")
_MOST_PARTS = 10_000
_CHECKSUM = re.compile(r"sha256:[0-9a-f]{64}\Z")
_INVALID = "request-invalid"


class DirectUploads:
    """Direct uploads for one file column.

    Args:
        column: The mapped attribute, such as ``Document.file``, or its ``Column``.
        secret: Signs claims; at least 16 characters, or several secrets for rotation. Default: ``FILEROW_SECRET``.
        expires_in: Seconds for which a URL and its claim are valid; 3600 by default, at most 43,200 (12 hours).
        max_size: Maximum size in bytes of an upload for a column without a ``max_size`` of its own.
        multipart_from: Files of at least this size go to S3 in parts that can be resumed.
        part_size: Size in bytes of such a part; at least 5 MiB.
        s3_method: ``PUT`` for S3-compatible stores without POST policies, such as Cloudflare R2.
        audience: A deployment, tenant or database. No other accepts these claims, even with the same secret and backend.
        development: Make a random secret for this process if none is set.

    Raises:
        TypeError: The column is not a ``StoredObject``, or the audience is not a string.
        ValueError: ``expires_in`` or a size is invalid.
        SecretError: The secret is too short.
    """

    def __init__(
        self,
        column: object,
        *,
        secret: Secret | None = None,
        expires_in: float = 3600,
        max_size: int | str = "100 MB",
        multipart_from: int | str = "64 MB",
        part_size: int | str = "16 MiB",
        s3_method: S3Method = "POST",
        audience: str = "",
        development: bool = False,
    ) -> None:
        if not 1 <= expires_in <= CLAIM_LIFE:  # nor NaN
            raise ValueError(f"expires_in must be 1 to {CLAIM_LIFE} seconds, the time that an upload may take, not {expires_in}")
        self._target: Target = target_of(column)
        self._audience = _checked_audience(audience)
        self._secret = secret
        self._development = development
        self._expires_in = math.ceil(expires_in)
        self._multipart_from = parse_size(multipart_from) or 0
        self._part_size = parse_size(part_size) or 0
        self._s3_method: S3Method = s3_method
        self._column = self._target.column
        rules = self._target.rules
        self._rules = rules if rules.max_size is not None else rules._replace(max_size=parse_size(max_size))
        self._found: Keys | None = None if secret is None else Keys(secret)  # refuse a short one at startup

    def __repr__(self) -> str:
        return f"<DirectUploads for {self._column.name}>"

    # -- what a handler calls ------------------------------------------------------------------------------------------

    def begin(self, *, filename: str, size: int, content_type: str | None = None, checksum: str | None = None) -> Ticket:
        """Allow one upload.

        Args:
            filename: The client's name for the file, for display.
            size: Exact size of the upload in bytes.
            content_type: The media type that the client claims. Default: guessed from the filename.
            checksum: ``sha256:<hex>`` of the bytes, if the client knows it; S3 then refuses other bytes at once.

        Raises:
            FileTooLargeError: The file is larger than the column allows.
            ContentTypeError: The column does not allow this type.
            FileValidationError: The client's description of the file is invalid.
            UnsupportedOperationError: Clients cannot upload to this column's backend.
        """
        return run(self._begin_steps(filename, size, content_type, checksum))

    async def begin_async(
        self, *, filename: str, size: int, content_type: str | None = None, checksum: str | None = None
    ) -> Ticket:
        """Allow one upload; see :meth:`begin`."""
        return await run_async(self._begin_steps(filename, size, content_type, checksum))

    def resume(self, claim: str, *, checksum: str | None = None, checksums: Mapping[int, str] | None = None) -> Ticket:
        """Return what is still to be uploaded: the missing parts, or all of it.

        Args:
            claim: The token.
            checksum: ``sha256:<hex>`` of the whole file, for a claim that has none yet and a ticket that asks for it; the
                ticket then has a new claim.
            checksums: The same for parts, by number.

        Raises:
            InvalidTokenError: The claim was not made by this application.
            ExpiredTokenError: The claim has expired.
            ClaimError: The claim is for another column or checksum, or the upload was finished or aborted.
            FileValidationError: A checksum is invalid.
        """
        return run(self._resume_steps(claim, checksum, checksums))

    async def resume_async(
        self, claim: str, *, checksum: str | None = None, checksums: Mapping[int, str] | None = None
    ) -> Ticket:
        """Return what is still to be uploaded; see :meth:`resume`."""
        return await run_async(self._resume_steps(claim, checksum, checksums))

    def abort(self, claim: str) -> None:
        """Remove what was uploaded for a claim; a file already made from it stays.

        Raises:
            InvalidTokenError: The claim was not made by this application.
            ExpiredTokenError: The claim has expired; a sweep removes what is left.
            ClaimError: The claim is for another column.
        """
        run(self._abort_steps(claim))

    async def abort_async(self, claim: str) -> None:
        """Remove what was uploaded; see :meth:`abort`."""
        await run_async(self._abort_steps(claim))

    def claim(self, claim: str) -> FileObject:
        """Check what was uploaded, and return it as a pending file.

        The claim is not used yet: after an error in another field of the form it can be sent again. The flush that writes
        the row reads the upload, checks it like any other content, and stores it for the row; that uses the claim.

        Returns:
            A file to assign to the column.

        Raises:
            InvalidTokenError: The claim was not made by this application.
            ExpiredTokenError: The claim has expired.
            ClaimError: Nothing was uploaded, or something else; the claim is for another column, or was used before. Whether
                it was used before is decided by the flush.
            FileValidationError: The column's rules refuse the file, by its size or its first bytes.
        """
        return claimed_file(FileObject, run(self._claim_steps(claim)))

    async def claim_async(self, claim: str) -> FileObject:
        """Check what was uploaded, and return it as a pending file; see :meth:`claim`."""
        return claimed_file(FileObject, await run_async(self._claim_steps(claim)))

    # -- what an integration mounts ------------------------------------------------------------------------------------

    def handle(self, action: str, payload: object) -> dict[str, Any]:
        """Answer a request of ``filerow.js``: ``POST {prefix}/{action}`` with JSON.

        Args:
            action: ``begin`` (filename, size, content_type, checksum), ``resume`` (claim, checksum, checksums) or
                ``abort`` (claim).
            payload: The request's parsed JSON; it is checked here.

        Returns:
            The response's JSON: a ticket, or nothing after ``abort``.

        Raises:
            FileValidationError: The request is invalid, or see :meth:`begin`.
            InvalidTokenError: See :meth:`resume`.
        """
        return run(self._handle_steps(action, payload))

    async def handle_async(self, action: str, payload: object) -> dict[str, Any]:
        """Answer a client's request; see :meth:`handle`."""
        return await run_async(self._handle_steps(action, payload))

    # -- shared by each pair -------------------------------------------------------------------------------------------

    def _handle_steps(self, action: str, payload: object) -> Steps[dict[str, Any]]:
        if not isinstance(payload, Mapping):
            raise FileValidationError(f"a JSON object is needed, not {type(payload).__name__}", code=_INVALID)
        if action == "begin":
            given = (payload.get(name) for name in ("filename", "size", "content_type", "checksum"))
            return (yield from self._begin_steps(*given)).to_dict()
        if action not in {"resume", "abort"}:
            raise FileValidationError(f"there is no action {action[:40]!r}; use begin, resume or abort", code=_INVALID)
        claim = payload.get("claim")
        if not isinstance(claim, str):
            raise ClaimError("the claim is missing", code=_INVALID, field="claim")
        if action == "resume":
            given = (payload.get(name) for name in ("checksum", "checksums"))
            return (yield from self._resume_steps(claim, *given)).to_dict()
        yield from self._abort_steps(claim)
        return {}

    def _begin_steps(self, filename: object, size: object, content_type: object, checksum: object) -> Steps[Ticket]:
        claim = self._new_claim(
            _checked_name(filename), _checked_size(size), _checked_type(content_type), _checked_checksum(checksum)
        )
        keys = self._keys()
        backend = storages.get_backend(claim.backend)
        if not self._target.has_outbox:
            yield from check_once_steps(backend)
        options = self._column.type.stored_with
        if options is not None:
            check_kept(backend, options, self._column.name)
        claim = yield from start_steps(backend, claim, self._multipart_from, self._part_size, self._tags)
        return (yield from ticket_steps(backend, claim, claim.seal(keys), self._s3_method, self._tags))

    @property
    def _tags(self) -> Mapping[str, str]:
        """The tags of an upload by PUT; the file's own object gets all options."""
        options = self._column.type.stored_with
        return {} if options is None else options.tags

    def _new_claim(self, filename: str, size: int, claimed: str | None, checksum: str | None) -> Claim:
        rules, column = self._rules, self._column
        rules.check_size(size, filename)
        rules.check_least(size, filename)
        content_type = claimed_type(claimed, filename)
        rules.check_announced(content_type)  # redeeming the claim looks at the bytes
        backend = storages.resolve(column.type.backend)
        return Claim(
            backend=backend.key,
            path=generate_path(column.table.name, column.column.name, filename, shards=column.type.shards),
            marker=generate_path(STAGING, CLAIMS, ""),
            column=column.name,
            filename=filename,
            size=size,
            content_type=content_type,
            checksum=checksum,
            rules=plain_rules(rules),
            expires_at=int(time.time()) + self._expires_in,
            audience=self._audience,
        )

    def _resume_steps(self, token: str, checksum: object = None, checksums: object = None) -> Steps[Ticket]:
        claim, given = self._unseal(token), _checked_checksum(checksum)
        if given is not None and given != claim.checksum:
            if claim.checksum is not None:
                msg = "this claim is for a file with another checksum"
                raise ClaimError(msg, code="claim-misplaced", field="checksum", limit=claim.checksum, actual=given)
            claim = claim._replace(checksum=given)
            token = claim.seal(self._keys())
        of_parts = _checked_checksums(checksums)
        backend = storages.get_backend(claim.backend)
        return (yield from ticket_steps(backend, claim, token, self._s3_method, self._tags, of_parts))

    def _abort_steps(self, token: str) -> Steps[None]:
        claim = self._unseal(token)
        yield from abort_steps(storages.get_backend(claim.backend), claim)

    def _claim_steps(self, token: str) -> Steps[Content]:
        return (yield from redeem_steps(self._unseal(token), self._rules))

    def _unseal(self, token: str) -> Claim:
        with of_field(self._rules.field):
            claim = Claim.unseal(self._keys(), token)
            claim.check_column(self._column.name)
            claim.check_audience(self._audience)
            return claim

    def _keys(self) -> Keys:
        if self._found is None:
            self._found = resolve_keys(self._secret, development=self._development, user="direct upload")
        return self._found


def _checked_audience(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"audience must be a string that names a deployment, tenant or database, not {value!r}")
    return value


def _invalid(message: str, field: str, value: object, longest: int | None = None) -> FileValidationError:
    """Return the error of an invalid value in a request, with a text's length."""
    actual = len(value) if longest is not None and isinstance(value, str) else None
    return FileValidationError(message, field=field, limit=longest, actual=actual, code=_INVALID)


def _checked_name(value: object) -> str:
    if not isinstance(value, str) or not value or len(value) > _LONGEST_NAME:
        raise _invalid(f"the filename must have 1 to {_LONGEST_NAME} characters", "filename", value, _LONGEST_NAME)
    return clean_filename(value)


def _checked_size(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise _invalid("the size must be a number of bytes", "size", value)
    return value


def _checked_type(value: object) -> str | None:
    if value is None or (isinstance(value, str) and len(value) <= _LONGEST_TYPE):
        return value
    msg = f"the content_type must be a media type of at most {_LONGEST_TYPE} characters"
    raise _invalid(msg, "content_type", value, _LONGEST_TYPE)


def _checked_checksum(value: object) -> str | None:
    if value is None or (isinstance(value, str) and _CHECKSUM.match(value)):
        return value
    raise _invalid("the checksum must be sha256: and 64 lower-case hexadecimal digits", "checksum", value)


def _checked_checksums(value: object) -> dict[int, str]:
    if value is None:
        return {}
    if not isinstance(value, Mapping) or len(value) > _MOST_PARTS or not all(_NUMBER.match(str(number)) for number in value):
        raise _invalid("the checksums must be an object whose keys are part numbers", "checksums", value)
    found = {int(number): _checked_checksum(checksum) for number, checksum in value.items()}
    return {number: checksum for number, checksum in found.items() if checksum is not None}
