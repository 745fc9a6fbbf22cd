"""Copies of clients' uploads by the clients that s3fs, gcsfs and adlfs have: their own copies keep what a client has sent."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from filerow.backends._rewrite import rewrite_on_azure, rewrite_on_gcs, rewrite_on_s3
from filerow.backends._types import ObjectInfo, PutOptions, Rewritten
from filerow.backends.fsspec.answers import code_of, status_of

__all__ = ("by_adlfs", "by_gcsfs", "by_s3fs")

_MOST_ON_S3 = 5 << 30
_GONE = frozenset({404, 412})


def by_s3fs(fs: Any, source: str, target: str, upload: ObjectInfo, options: PutOptions) -> Rewritten | None:
    """Copy an upload; ``None`` for more than 5 GiB, which S3 copies in parts only."""
    if upload.size is None or upload.size > _MOST_ON_S3:
        return None
    bucket, key, _ = fs.split_path(source)

    def ask(method: str, path: str, *, absent: frozenset[str] = frozenset(), **parameters: Any) -> Any:
        try:
            return fs.call_s3(method, Bucket=bucket, Key=fs.split_path(path)[1], **parameters)
        except OSError as error:
            if code_of(error) in absent or str(status_of(error)) in absent:
                return None
            raise

    return rewrite_on_s3(ask, {"Bucket": bucket, "Key": key}, target, upload, options, fs.s3_additional_kwargs or {})


def by_gcsfs(
    fs: Any, source: str, target: str, upload: ObjectInfo, options: PutOptions, kms_key: str | None = None
) -> Rewritten | None:
    """Copy an upload, and encrypt the copy with Google's key of this name if one is given."""

    def ask(method: str, path: str, *names: str, **parameters: Any) -> Any:
        try:
            return fs.call(method, path, *names, json_out=method != "DELETE", **parameters)
        except (FileNotFoundError, FileExistsError):  # by the latter it means a condition that does not hold
            return None

    bucket, name, _ = fs.split_path(source)
    # a generation is not a version to gcsfs, which would delete none
    demanded = {} if kms_key is None else {"destinationKmsKeyName": kms_key}
    done = rewrite_on_gcs(ask, (bucket, name), fs.split_path(target)[1], upload, options, **demanded)
    return None if done is None else done._replace(version=None)


def by_adlfs(fs: Any, source: str, target: str, upload: ObjectInfo, options: PutOptions) -> Rewritten | None:
    """Copy an upload."""
    sync = import_module("fsspec.asyn").sync

    def ask(client: Any, method: str, *args: Any, **parameters: Any) -> Any:
        return sync(fs.loop, getattr(client, method), *args, **parameters)

    origin, copy = (fs.service_client.get_blob_client(*fs.split_path(path, delimiter="/")[:2]) for path in (source, target))
    return rewrite_on_azure(ask, origin, copy, upload, options)
