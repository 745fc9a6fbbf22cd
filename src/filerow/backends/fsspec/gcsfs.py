"""What gcsfs takes."""

from __future__ import annotations

import io
import re
from collections.abc import Collection, Mapping
from importlib import import_module
from typing import Any, ClassVar

from filerow.backends._deadlines import ATTEMPTS, connect_within
from filerow.backends._rewrite import rewrite_on_gcs
from filerow.backends._sign_request import Bound, length_range
from filerow.backends._types import CLOUD, Capabilities, ObjectInfo, PutOptions, Rewritten, SignRequest
from filerow.backends.fsspec.deadlines import limit_calls
from filerow.backends.fsspec.flavour import ANSWER, Flavour, is_found

_FIXED = {"content_disposition": "Content-Disposition", "cache_control": "Cache-Control"}


class _Unclosed(io.BytesIO):
    """A buffer that may be released while somebody looks at it."""

    def close(self) -> None:
        pass


class GCS(Flavour):
    """Google Cloud Storage, by gcsfs."""

    binds: Bound = {"GET": ANSWER, "PUT": frozenset({"content_type", "content_length", "max_length"})}  # noqa: RUF012
    misread: re.Pattern[str] | None = re.compile(r"#\d+\Z|\?generation=")
    capabilities: Capabilities = CLOUD
    objects = True
    bulk_delete = True
    defaults: ClassVar[Mapping[str, Any]] = {"use_listings_cache": False}
    encryptions: frozenset[str] = frozenset({"gcp:kms"})

    def capabilities_of(self, fs: Any) -> Capabilities:
        keyless = fs.storage_options.get("token") in {"anon", "browser"}
        return self.capabilities._replace(sign_get=not keyless, sign_put=not keyless)

    def client_options(self) -> Collection[str]:
        return ("memmove_max_workers", "retry_*")

    def with_limits(self, options: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        make = import_module("aiohttp").ClientTimeout  # gcsfs itself needs it
        return {"requests_timeout": make(total=None, sock_connect=connect_within(seconds), sock_read=seconds), **options}

    def limit(self, fs: Any, seconds: float) -> None:
        limit_calls(fs, "call", "data", 2 * ATTEMPTS * seconds, but=_is_content)

    def prepare_file(self, file: Any) -> None:
        # an upload that failed keeps a view of it, and Python 3.13 complains where it closes what is looked at
        file.buffer = _Unclosed()

    def pipe_options(self, headers: Mapping[str, str], metadata: Mapping[str, str]) -> dict[str, Any]:
        chosen: dict[str, Any] = {"metadata": dict(metadata)} if metadata else {}
        if "Content-Type" in headers:
            chosen["content_type"] = headers["Content-Type"]
        fixed = {name: headers[header] for name, header in _FIXED.items() if header in headers}
        return {**chosen, "fixed_key_metadata": fixed} if fixed else chosen

    def open_options(self, headers: Mapping[str, str], metadata: Mapping[str, str]) -> dict[str, Any]:
        chosen = self.pipe_options(headers, metadata)
        return chosen if self.kms_key is None else {**chosen, "kms_key_name": self.kms_key}

    def has_place(self, fs: Any, root: str) -> bool:
        return is_found(lambda: fs.call("GET", "b/{}/o", root.partition("/")[0], maxResults="1", json_out=True))

    def copy(self, fs: Any, source: str, target: str) -> None:
        """Copy an object by a request that refuses a taken target; gcsfs's does not."""
        names = [name for path in (source, target) for name in fs.split_path(path)[:2]]
        asked: dict[str, Any] = {"headers": {"Content-Type": "application/json"}, "json_out": True, "ifGenerationMatch": "0"}
        asked |= self._demanded
        answer: dict[str, Any] = {"done": False}
        while not answer["done"]:  # a large object is copied in several requests
            answer = fs.call("POST", "b/{}/o/{}/rewriteTo/b/{}/o/{}", *names, **asked)
            asked["rewriteToken"] = answer.get("rewriteToken")

    def rewrite(self, fs: Any, source: str, target: str, upload: ObjectInfo, options: PutOptions) -> Rewritten | None:
        def ask(method: str, path: str, *names: str, **parameters: Any) -> Any:
            try:
                return fs.call(method, path, *names, json_out=method != "DELETE", **parameters)
            except (FileNotFoundError, FileExistsError):  # the latter stands for a condition that does not hold
                return None

        bucket, name, _ = fs.split_path(source)
        done = rewrite_on_gcs(ask, (bucket, name), fs.split_path(target)[1], upload, options, **self._demanded)
        # a generation is not a version to gcsfs, which would delete none
        return None if done is None else done._replace(version=None)

    @property
    def _demanded(self) -> dict[str, str]:
        return {} if self.kms_key is None else {"destinationKmsKeyName": self.kms_key}

    def sign(self, fs: Any, path: str, request: SignRequest) -> str:
        bound: dict[str, Any] = {"method": request.method, "version": "v4"}
        if request.content_type is not None:
            bound["response_type" if request.method == "GET" else "content_type"] = request.content_type
        if request.content_disposition is not None:
            bound["response_disposition"] = request.content_disposition
        if asked := self.upload_headers(fs, request):
            bound["headers"] = asked
        if fs.requester_pays:  # the name of the project that does, or the filesystem's own
            bound["query_parameters"] = {"userProject": fs.project if fs.requester_pays is True else fs.requester_pays}
        return str(fs.sign(path, expiration=request.expires_in, **bound))

    def upload_headers(self, fs: Any, request: SignRequest) -> dict[str, str]:
        encrypted = self.kms_key is not None and request.method == "PUT"
        return length_range(request) | ({"x-goog-encryption-kms-key-name": self.kms_key or ""} if encrypted else {})


def _is_content(method: str, *_: Any, json_out: bool = False, **__: Any) -> bool:
    """Return True for a read of content, in which aiohttp limits the silence."""
    return method == "GET" and not json_out
