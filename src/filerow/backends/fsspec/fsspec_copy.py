"""Copies that the store itself refuses when the target is taken: gcsfs and adlfs ask for copies without a condition."""

from __future__ import annotations

from importlib import import_module
from typing import Any

__all__ = ("copy_on_azure", "copy_on_gcs")


def copy_on_gcs(fs: Any, source: str, target: str) -> None:
    """Copy an object of gcsfs.

    Raises:
        FileNotFoundError: There is no source.
        FileExistsError: The target is taken.
    """
    names = [name for path in (source, target) for name in fs.split_path(path)[:2]]
    asked: dict[str, Any] = {"headers": {"Content-Type": "application/json"}, "json_out": True, "ifGenerationMatch": "0"}
    told: dict[str, Any] = {"done": False}
    while not told["done"]:  # a large object is copied in several requests
        told = fs.call("POST", "b/{}/o/{}/rewriteTo/b/{}/o/{}", *names, **asked)
        asked["rewriteToken"] = told.get("rewriteToken")


def copy_on_azure(fs: Any, source: str, target: str) -> None:
    """Copy an object of adlfs.

    Raises:
        FileNotFoundError: There is no source.
        FileExistsError: The target is taken.
    """
    sync = import_module("fsspec.asyn").sync
    core = import_module("azure.core")  # adlfs itself needs it
    errors = import_module("azure.core.exceptions")
    origin, copy = (fs.service_client.get_blob_client(*fs.split_path(path, delimiter="/")[:2]) for path in (source, target))
    try:
        sync(fs.loop, copy.start_copy_from_url, origin.url, match_condition=core.MatchConditions.IfMissing)
    except errors.ResourceNotFoundError as error:
        raise FileNotFoundError(source) from error
    except (errors.ResourceExistsError, errors.ResourceModifiedError) as error:
        raise FileExistsError(target) from error
