"""What the clouds' error codes mean, and what to do about them, for every client."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from filerow.exceptions import StorageError, StoragePermissionError


class Meaning(NamedTuple):
    """What an error code means.

    Attributes:
        kind: Which of our errors it is.
        advice: What has happened, and what to do about it.
    """

    kind: type[StorageError]
    advice: str


_STRANGERS = frozenset(
    {"AuthenticationFailed", "InvalidAccessKeyId", "InvalidAuthenticationInfo", "InvalidSecurity", "SignatureDoesNotMatch"}
)
_EXPIRED = frozenset({"ExpiredToken", "ExpiredTokenException", "InvalidToken", "TokenRefreshRequired"})
_SKEWED = frozenset({"RequestExpired", "RequestTimeTooSkewed"})
REFUSED_KEYS = _STRANGERS | _EXPIRED | _SKEWED
"""The credentials themselves are refused, whatever was asked for."""

NO_PLACE = frozenset({"NoSuchBucket", "ContainerNotFound", "FilesystemNotFound"})
"""The bucket is missing, and with it every object."""

BUSY_CODES = frozenset(
    {
        "BandwidthLimitExceeded",
        "ConditionalRequestConflict",
        "InternalError",
        "OperationAborted",
        "OperationTimedOut",
        "RequestLimitExceeded",
        "ServerBusy",
        "ServiceUnavailable",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "TooManyRequests",
    }
)
"""The store may do the same a little later."""

_MEANINGS: tuple[tuple[frozenset[str], Meaning], ...] = (
    (_STRANGERS, Meaning(StoragePermissionError, "the store refused the credentials; are key and secret right?")),
    (
        _EXPIRED,
        Meaning(
            StoragePermissionError,
            "the store refused the credentials, which have expired or were revoked; give the backend some that are renewed "
            "(credential_provider= of ObstoreBackend, or a role of the machine)",
        ),
    ),
    (
        _SKEWED,
        Meaning(
            StoragePermissionError,
            "the store refused the credentials, for this machine's clock differs from its own; set it by NTP",
        ),
    ),
    (
        frozenset(
            {"AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "PermanentRedirect", "TemporaryRedirect"}
        ),
        Meaning(
            StorageError,
            "the bucket is in another region or at another endpoint; give the backend its region (aws_region= of ObstoreBackend, "
            "client_kwargs={'region_name': …} of s3fs)",
        ),
    ),
    (
        frozenset({"BlobArchived", "BlobBeingRehydrated", "InvalidObjectState"}),
        Meaning(StorageError, "the object is archived; restore it in the store, then it can be read and copied again"),
    ),
    (
        frozenset(
            {
                "BlobImmutableDueToPolicy",
                "LeaseIdMissing",
                "LeaseIdMismatchWithBlobOperation",
                "LeaseNotPresentWithBlobOperation",
                "ObjectLocked",
                "SnapshotsPresent",
                "objectUnderActiveHold",
                "retentionPolicyNotMet",
            }
        ),
        Meaning(
            StoragePermissionError,
            "a lock keeps this object as it is: a lease, a retention policy, a legal hold or a snapshot; it can be changed when "
            "that has ended",
        ),
    ),
    (
        BUSY_CODES,
        Meaning(StorageError, "the store is busy, or failed for a moment; try again a little later"),
    ),
    (
        frozenset({"InsufficientCapacity", "QuotaExceeded", "StorageFull", "XMinioStorageFull"}),
        Meaning(StorageError, "the store is full, or over its quota"),
    ),
    (
        frozenset({"EntityTooLarge", "MaxMessageLengthExceeded", "RequestBodyTooLarge"}),
        Meaning(StorageError, "the store takes, or copies, no object this large in one request"),
    ),
)
_BY_CODE: Mapping[str, Meaning] = {code: meaning for codes, meaning in _MEANINGS for code in codes}

# As it stands in XML (S3, Azure, Google), as botocore and obstore quote it, as Azure's and Google's own clients do.
_CODE = re.compile(
    r"(?:<(?:\w+:)?Code>|An error occurred \(|\(code: |ErrorCode:|<ErrorCode>|[\"']reason[\"']: [\"'])([A-Za-z][A-Za-z0-9.]+)"
)


def code_in(text: str) -> str:
    """Return the error code in a client's message; empty if there is none."""
    found = _CODE.search(text)
    return found[1] if found else ""


def meaning_of_answer(code: str, status: int | None) -> Meaning | None:
    """Return what an answer means for any request; ``None`` if that depends on it.

    Args:
        code: Its error code; empty where it has none, as from a proxy, or to a HEAD.
        status: Its HTTP status; ``None`` where it is not known.
    """
    return _BY_CODE.get(code) or _BY_CODE.get(_BY_STATUS.get(status or 0, ""))


_BY_STATUS: Mapping[int, str] = {
    301: "PermanentRedirect",
    307: "TemporaryRedirect",
    413: "EntityTooLarge",
    429: "SlowDown",
    500: "InternalError",
    502: "ServiceUnavailable",
    503: "ServiceUnavailable",
    504: "ServiceUnavailable",
    507: "StorageFull",
}
