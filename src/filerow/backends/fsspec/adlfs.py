"""What adlfs takes."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from importlib import import_module
from typing import Any, ClassVar, Literal

from fsspec.asyn import sync

from filerow.backends._answers import meaning_of_answer
from filerow.backends._deadlines import ATTEMPTS, connect_within
from filerow.backends._rewrite import rewrite_on_azure
from filerow.backends._sign_request import Bound
from filerow.backends._status import code_of
from filerow.backends._types import CLOUD, Capabilities, ObjectInfo, PutOptions, Rewritten, SignRequest
from filerow.backends.fsspec.deadlines import in_time
from filerow.backends.fsspec.flavour import ANSWER, Flavour, is_found

_BLOCK = 256 << 10  # bytes that are read at once, as in the clients that Azure's library makes by itself

_OF_IDENTITY = (
    "additionally_allowed_tenants", "authority", "broker_*", "exclude_*", "interactive_browser_*", "managed_identity_*",
    "process_timeout", "require_envvar", "shared_cache_*", "visual_studio_code_*", "workload_identity_*",
)  # fmt: skip
"""Options of Azure's ``DefaultAzureCredential``, whose signature names none."""


class Azure(Flavour):
    """Azure Blob Storage, by adlfs."""

    binds: Bound = {"GET": ANSWER}  # noqa: RUF012
    misread: re.Pattern[str] | None = re.compile(r"#\Z|\?versionid=")
    public_host: Literal["", "signed", "moved"] = "moved"
    capabilities: Capabilities = CLOUD._replace(sign_put=False, stored_with=frozenset({"storage_class", "tags"}))
    objects = True
    defaults: ClassVar[Mapping[str, Any]] = {"use_listings_cache": False}

    def client_options(self) -> Collection[str]:
        return _OF_IDENTITY

    def limit(self, fs: Any, seconds: float) -> None:
        """Make the client again, with limits; adlfs limits uploads and downloads only."""
        client, aio = fs.service_client, import_module("azure.storage.blob.aio")
        fs.service_client = type(client)(
            client.url,
            credential=client.credential,
            retry_policy=aio.ExponentialRetry(initial_backoff=1, increment_base=2, retry_total=2, random_jitter_range=1),
            transport=_transport(seconds),
        )
        fs.service_client.location_mode = client.location_mode

    def pipe_options(self, headers: Mapping[str, str], metadata: Mapping[str, str]) -> dict[str, Any]:
        blob = import_module("azure.storage.blob")  # adlfs itself needs it; its pipe_file() takes no metadata
        named = {name.lower().replace("-", "_"): value for name, value in headers.items() if name != "Storage-Class"}
        return {"content_settings": blob.ContentSettings(**named)} if named else {}

    def open_options(self, headers: Mapping[str, str], metadata: Mapping[str, str]) -> dict[str, Any]:
        return {**self.pipe_options(headers, metadata), "metadata": dict(metadata)}

    def finish(self, fs: Any, path: str, options: PutOptions) -> None:
        blob = _blob_of(fs, path)
        if options.tags:
            sync(fs.loop, blob.set_blob_tags, dict(options.tags))
        if options.storage_class is not None:
            sync(fs.loop, blob.set_standard_blob_tier, options.storage_class)

    def has_place(self, fs: Any, root: str) -> bool:
        async def first() -> None:
            async for _ in fs.service_client.get_container_client(root.partition("/")[0]).list_blobs(results_per_page=1):
                return

        return is_found(lambda: sync(fs.loop, first))

    def copy(self, fs: Any, source: str, target: str) -> None:
        """Copy an object by a request that refuses a taken target; adlfs's does not."""
        core = import_module("azure.core")  # adlfs itself needs it
        errors = import_module("azure.core.exceptions")
        origin, copy = _blob_of(fs, source), _blob_of(fs, target)
        try:
            sync(fs.loop, copy.start_copy_from_url, origin.url, match_condition=core.MatchConditions.IfMissing)
        except errors.ResourceNotFoundError as error:
            raise FileNotFoundError(source) from error
        except (errors.ResourceExistsError, errors.ResourceModifiedError) as error:
            if meaning_of_answer(code_of(error), None) is not None:  # archived, locked: of the source, or of neither
                raise
            raise FileExistsError(target) from error

    def rewrite(self, fs: Any, source: str, target: str, upload: ObjectInfo, options: PutOptions) -> Rewritten | None:
        def ask(client: Any, method: str, *args: Any, **parameters: Any) -> Any:
            return sync(fs.loop, getattr(client, method), *args, **parameters)

        return rewrite_on_azure(ask, _blob_of(fs, source), _blob_of(fs, target), upload, options)

    def sign(self, fs: Any, path: str, request: SignRequest) -> str:
        bound = {"content_type": request.content_type, "content_disposition": request.content_disposition}
        return str(fs.sign(path, expiration=request.expires_in, **bound))


def _blob_of(fs: Any, path: str) -> Any:
    return fs.service_client.get_blob_client(*fs.split_path(path, delimiter="/")[:2])


def _transport(seconds: float) -> Any:
    """Return a transport that limits sending a request and silence in its answer."""
    base: Any = import_module("azure.core.pipeline.transport").AioHttpTransport

    class Transport(base):  # type: ignore[misc]
        async def send(self, request: Any, **options: Any) -> Any:
            return await in_time(super().send(request, **options), request.data, 2 * ATTEMPTS * seconds)

    return Transport(connection_timeout=connect_within(seconds), read_timeout=seconds, connection_data_block_size=_BLOCK)
