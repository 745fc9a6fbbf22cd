"""Multipart uploads to S3 that have not ended, listed with any client."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from filerow.backends._types import Unfinished


def unfinished_on_s3(ask: Callable[..., Any], root: str, folder: str) -> Iterator[Unfinished]:
    """Yield the uploads below a folder that were neither completed nor aborted.

    Args:
        ask: Sends ``ListMultipartUploads`` with these parameters.
        root: The folder of the bucket that is the backend's root; empty for the whole bucket.
        folder: A folder in it; empty for all.
    """
    top = f"{root}/" if root else ""
    after = {"KeyMarker": "", "UploadIdMarker": ""}
    while True:
        page = ask(Prefix=f"{top}{folder}/" if folder else top, **after)
        for upload in page.get("Uploads", ()):
            yield Unfinished(upload["Key"].removeprefix(top), upload["UploadId"], upload["Initiated"].timestamp())
        if not page.get("IsTruncated"):
            return
        after = {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}
