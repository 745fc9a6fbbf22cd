"""A limit that s3fs, gcsfs and adlfs have no option for: on sending a request.

All three are built on aiohttp, which limits how long an answer may take once the request is sent: a server that stops reading
would hold an upload forever. A limit to each request, and not to a whole operation, leaves alone what takes long because it is
large: a listing of many pages, an upload of many parts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from fsspec.asyn import sync_wrapper

_AT_ONCE = 8 << 20  # bytes that any network in use sends in the time that several attempts may take; a part is smaller


def limit_calls(fs: Any, name: str, body: str, seconds: float, *, but: Callable[..., bool] = lambda *_, **__: False) -> None:
    """Limit each call of a filesystem's method that sends one request.

    Args:
        fs: The filesystem.
        name: The method; it also has an asynchronous form with an underscore, as all such methods of fsspec.
        body: The argument that is sent.
        seconds: How long the answer may take, for all attempts together.
        but: Returns True for calls that are left alone.
    """
    ask = getattr(fs, f"_{name}")

    async def limited(*args: Any, **options: Any) -> Any:
        if but(*args, **options):
            return await ask(*args, **options)
        return await in_time(ask(*args, **options), options.get(body), seconds)

    setattr(fs, f"_{name}", limited)
    setattr(fs, name, sync_wrapper(limited, obj=fs))


async def in_time(answer: Awaitable[Any], body: Any, seconds: float) -> Any:
    """Wait for an answer, longer when much has to be sent first.

    Raises:
        TimeoutError: It did not come.
    """
    size = len(body) if isinstance(body, (bytes, bytearray, memoryview)) else getattr(body, "nbytes", 0)
    allowed = seconds * (1 + size // _AT_ONCE)
    deadline = asyncio.timeout(allowed)
    try:
        async with deadline:
            return await answer
    except TimeoutError as error:
        if not deadline.expired():  # it is the client's own
            raise
        raise TimeoutError(f"no answer within {allowed:g} s") from error
