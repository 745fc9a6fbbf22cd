"""Direct upload to S3: POST policies, bound PUTs and multipart, by botocore.

obstore signs method, path and expiry only. What an upload may bring is bound by botocore, which comes with ``filerow[s3]``.
Signing asks nobody; starting, listing, completing and aborting a multipart upload are one request each.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from importlib import import_module
from types import MappingProxyType
from typing import Any, NamedTuple

from filerow._execution.steps import Call
from filerow._execution.threads import in_thread
from filerow._requirements import needs
from filerow.backends._deadlines import botocore_limits
from filerow.backends._foreign import clean_message, secrets_of
from filerow.backends._multipart import unfinished_on_s3
from filerow.backends._rewrite import rewrite_on_s3
from filerow.backends._stored_with import encoded_tags
from filerow.backends._types import ObjectInfo, PutOptions, Rewritten, SignRequest, Unfinished
from filerow.backends.obstore.credentials import AccessKeys, S3Credentials, make_client
from filerow.backends.obstore.store import demands_of, is_requester_paying, name_in, place_of
from filerow.exceptions import StorageError, StoragePermissionError, StorageTimeoutError, UnsupportedOperationError

MOST_BYTES = 5 << 30
"""Maximum size in bytes of one upload request, and of one copy."""

LEAST_PART = 5 << 20
MOST_PARTS = 10_000


class Bound(NamedTuple):
    """What an upload must be.

    Attributes:
        content_type: The media type to store with it.
        content_disposition: The ``Content-Disposition`` (RFC 6266) to store with it.
        size: Its length in bytes, exactly.
        checksum: ``sha256:<hex>`` of its bytes, or ``None``.
        expires_in: Seconds until the store refuses it.
        tags: To be stored with it; a form binds none.
    """

    content_type: str
    content_disposition: str
    size: int
    checksum: str | None
    expires_in: int
    tags: Mapping[str, str]

    @property
    def digest(self) -> str | None:
        """The checksum as S3 writes it: base64."""
        return None if self.checksum is None else _digest(self.checksum)


class StoredPart(NamedTuple):
    """A part of a multipart upload, that is there or is to come.

    Attributes:
        size: Its length in bytes.
        etag: Its tag; empty for one that is to come.
        checksum: Its SHA-256 as S3 writes it, where the store keeps one or it must come with one.
    """

    size: int
    etag: str = ""
    checksum: str | None = None


class S3Direct:
    """Direct uploads to one bucket.

    Args:
        key: The backend's key, for errors.
        store: An ``obstore.store.S3Store``.
        timeout: Seconds that one request may take.
        signing_store: The store on the host that clients reach; what they are given is signed for it, and nothing is sent to it.

    Raises:
        UnsupportedOperationError: botocore is not installed.
    """

    def __init__(self, key: str, store: Any, timeout: float, signing_store: Any = None) -> None:
        self._backend = key
        self._store = store
        self._config = dict(self._store.config)
        self._secrets = secrets_of(self._config)
        self._timeout = timeout
        self._demands = demands_of(store)
        self._library("botocore.session")
        self._signing_store = store if signing_store is None else signing_store
        self._credentials = S3Credentials(store, key)
        self._pays = is_requester_paying(store)
        self._made: dict[int, tuple[AccessKeys, Any]] = {}

    @staticmethod
    def call(function: Callable[..., Any], *args: Any) -> Call:
        """Return a step that calls a method of this class, awaited in a thread."""

        async def later(*args: Any) -> Any:
            return await in_thread(function, *args)

        return Call(function, later, args, {})

    @property
    def upload_headers(self) -> dict[str, str]:
        """Headers of every upload to the bucket: the requester pays, if it is such one."""
        return {"x-amz-request-payer": "requester"} if self._pays else {}

    @property
    def needs_checksum(self) -> bool:
        """Whether each upload, and each part of one, must come with its SHA-256."""
        return self._demands.checksum

    def check_open(self) -> None:
        """Refuse uploads to a store whose objects are encrypted with a secret key.

        Raises:
            UnsupportedOperationError: It is one.
        """
        if self._demands.customer_key:
            msg = (
                "its objects are encrypted with a key of the application's own (SSE-C), which clients would have to know; use "
                "encryption='aws:kms', or upload through the application"
            )
            raise UnsupportedOperationError(msg, operation="sign", backend=self._backend)

    def post(self, path: str, bound: Bound) -> tuple[str, dict[str, str]]:
        """Return URL and fields of a form that uploads one object (POST policy)."""
        fields = {"Content-Type": bound.content_type, "Content-Disposition": bound.content_disposition}
        if bound.digest is not None:
            fields |= {"x-amz-checksum-algorithm": "SHA256", "x-amz-checksum-sha256": bound.digest}
        fields |= self.upload_headers | self._demands.headers  # but no tags, whose condition many stores do not know
        conditions: list[Any] = [{name: value} for name, value in fields.items()]
        conditions.append(["content-length-range", bound.size, bound.size])
        expires = self._lasting(bound.expires_in)
        form = self._ask("generate_presigned_post", path, signs=True, Fields=fields, Conditions=conditions, ExpiresIn=expires)
        return str(form["url"]), dict(form["fields"])

    def put(self, path: str, bound: Bound) -> tuple[str, dict[str, str]]:
        """Return URL and headers of a PUT of one object, of this length and type."""
        kind, disposition = bound.content_type, bound.content_disposition
        parameters: dict[str, Any] = {"ContentType": kind, "ContentDisposition": disposition, "ContentLength": bound.size}
        headers = {"Content-Type": kind, "Content-Disposition": disposition, **self.upload_headers}
        if bound.digest is not None:
            parameters |= {"ChecksumSHA256": bound.digest}
            headers["x-amz-checksum-sha256"] = bound.digest
        if bound.tags:
            parameters["Tagging"] = headers["x-amz-tagging"] = encoded_tags(bound.tags)
        parameters |= self._demands.encryption
        headers |= self._demands.headers
        return self._presign("put_object", path, bound.expires_in, parameters), headers

    def start(
        self, path: str, content_type: str, content_disposition: str, tags: Mapping[str, str] = MappingProxyType({})
    ) -> str:
        """Begin a multipart upload and return its name."""
        # Amazon needs it here, and lists the checksums of the parts, which it needs again in the end. Others need them, too, and
        # list none; without it, they check each part by itself.
        endpoint = place_of(self._store).endpoint
        more: dict[str, Any] = {}
        if self._demands.checksum and (endpoint is None or ".amazonaws.com" in endpoint):
            more["ChecksumAlgorithm"] = "SHA256"
        more |= self._demands.encryption | ({"Tagging": encoded_tags(tags)} if tags else {})
        begun = self._ask(
            "create_multipart_upload", path, ContentType=content_type, ContentDisposition=content_disposition, **more
        )
        return str(begun["UploadId"])

    def part_urls(self, path: str, upload_id: str, parts: Mapping[int, StoredPart], expires_in: int) -> dict[int, str]:
        """Return a URL to PUT each part, bound to its length and any checksum."""
        urls = {}
        for number, part in parts.items():
            bound: dict[str, Any] = {"UploadId": upload_id, "PartNumber": number, "ContentLength": part.size}
            bound |= {"ChecksumSHA256": part.checksum} if part.checksum else {}
            urls[number] = self._presign("upload_part", path, expires_in, bound)
        return urls

    def parts(self, path: str, upload_id: str) -> dict[int, StoredPart] | None:
        """Return the parts that are there, by number; ``None`` for no such upload."""
        found: dict[int, StoredPart] = {}
        marker = 0
        while True:
            page = self._ask("list_parts", path, UploadId=upload_id, PartNumberMarker=marker, absent={"NoSuchUpload"})
            if page is None:
                return None
            for part in page.get("Parts", ()):
                found[part["PartNumber"]] = StoredPart(part["Size"], part["ETag"], part.get("ChecksumSHA256"))
            if not page.get("IsTruncated"):
                return found
            marker = page["NextPartNumberMarker"]

    def complete(self, path: str, upload_id: str, parts: Mapping[int, StoredPart]) -> None:
        """Make one object of the parts; another caller may have done so already."""
        named = [
            {"PartNumber": number, "ETag": part.etag, **({"ChecksumSHA256": part.checksum} if part.checksum else {})}
            for number, part in sorted(parts.items())
        ]
        self._ask(
            "complete_multipart_upload", path, UploadId=upload_id, MultipartUpload={"Parts": named}, absent={"NoSuchUpload"}
        )

    def rewrite(self, upload: ObjectInfo, target: str, options: PutOptions) -> Rewritten | None:
        """Copy an object inside the bucket; ``None`` if it has more than 5 GiB."""
        if upload.size is not None and upload.size > MOST_BYTES:
            return None
        origin = {"Bucket": self._config["bucket"], "Key": name_in(self._store, upload.path)}
        demanded: dict[str, Any] = dict(self._demands.encryption)
        if self._demands.checksum:
            demanded["ChecksumAlgorithm"] = "SHA256"
        return rewrite_on_s3(self._ask, origin, target, upload, options, **demanded)

    def abort(self, path: str, upload_id: str) -> None:
        """Discard the parts; do nothing if the upload does not exist."""
        self._ask("abort_multipart_upload", path, UploadId=upload_id, absent={"NoSuchUpload"})

    def remove_version(self, path: str, version_id: str) -> None:
        """Remove one version of an object permanently, if it exists."""
        self._ask("delete_object", path, VersionId=version_id, absent={"NoSuchVersion", "NoSuchKey"})

    def unfinished(self, prefix: str) -> Iterator[Unfinished]:
        """Return the multipart uploads below a folder that have not ended."""
        return unfinished_on_s3(partial(self._ask, "list_multipart_uploads", ""), self._store.prefix or "", prefix)

    def _presign(self, method: str, path: str, expires_in: int, parameters: dict[str, Any]) -> str:
        named = {"Bucket": self._config["bucket"], "Key": name_in(self._store, path), **parameters}
        client = self._client(self._signing_store)
        return str(client.generate_presigned_url(method, Params=named, ExpiresIn=self._lasting(expires_in)))

    def _lasting(self, seconds: int) -> int:
        """Return for how many seconds a URL works: no longer than its keys."""
        keys = self._credentials.get(seconds)
        return self._credentials.within(SignRequest("PUT", seconds), keys).expires_in

    def _ask(
        self, method: str, path: str, *, absent: frozenset[str] | set[str] = frozenset(), signs: bool = False, **parameters: Any
    ) -> Any:
        """Send a request, or sign for clients; ``None`` for the codes in ``absent``."""
        errors = self._library("botocore.exceptions")
        try:
            named = {"Key": name_in(self._store, path)} if path else {}
            client = self._client(self._signing_store if signs else self._store)
            return getattr(client, method)(Bucket=self._config["bucket"], **named, **parameters)
        except errors.ClientError as error:
            code = error.response.get("Error", {}).get("Code", "")
            if code in absent:
                return None
            refused = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") == 403  # noqa: PLR2004
            kind = StoragePermissionError if refused else StorageError
            raise kind(self._clean(error), operation=method, backend=self._backend, path=path) from error
        except errors.BotoCoreError as error:
            late = isinstance(error, (errors.ReadTimeoutError, errors.ConnectTimeoutError))
            kind = StorageTimeoutError if late else StorageError
            raise kind(self._clean(error), operation=method, backend=self._backend, path=path) from error

    def _clean(self, error: BaseException) -> str:
        return clean_message(str(error), self._secrets)

    def _client(self, store: Any) -> Any:
        keys = self._credentials.get()
        made = self._made.get(id(store))
        if made is None or made[0] != keys:  # a provider hands out new ones as old ones expire
            made = self._made[id(store)] = keys, self._made_client(store, keys)
        return made[1]

    def _made_client(self, store: Any, keys: AccessKeys) -> Any:
        place = place_of(store)
        client = make_client(
            region_name=place.region,
            endpoint_url=place.endpoint,
            aws_access_key_id=keys.access_key_id,
            aws_secret_access_key=keys.secret_access_key,
            aws_session_token=keys.token,
            config=self._options(place.style),
        )
        if self._pays:
            client.meta.events.register("before-parameter-build.s3", _pay)
        return client

    def _options(self, style: str) -> Any:
        make = self._library("botocore.config").Config
        limits = botocore_limits(self._timeout)
        options = {"signature_version": "s3v4", "s3": {"addressing_style": style}, **limits}
        # A checksum that the library adds of its own accord would have to be sent with every part.
        unasked = {"request_checksum_calculation": "when_required", "response_checksum_validation": "when_required"}
        try:
            return make(**options, **unasked)
        except TypeError:  # botocore before 1.36 adds none
            return make(**options)

    def _library(self, module: str) -> Any:
        try:
            with needs("s3", "direct upload to S3"):
                return import_module(module)
        except ImportError as error:
            raise UnsupportedOperationError(str(error), operation="sign", backend=self._backend) from error


def _pay(params: dict[str, Any], model: Any, **_: Any) -> None:
    """Add to a request that the requester pays (Amazon S3, Requester Pays)."""
    if "RequestPayer" in model.input_shape.members:
        params["RequestPayer"] = "requester"


def _digest(checksum: str) -> str:
    return base64.b64encode(bytes.fromhex(checksum.partition(":")[2])).decode()


def part_of(size: int, checksum: str | None) -> StoredPart:
    """Return a part that is to come.

    Args:
        size: Its length in bytes.
        checksum: ``sha256:<hex>`` of its bytes, or ``None``.
    """
    return StoredPart(size, checksum=None if checksum is None else _digest(checksum))
