"""Limits that fsspec filesystems take no option for.

s3fs, gcsfs and adlfs are built on aiohttp, which limits how long an answer may take only when the request is sent: a server that
stops reading would hold an upload forever. So each of their requests gets a limit for all its attempts together, at the one
place in each that every request goes through. A limit there, and not around a whole operation, leaves alone what takes long
because it is much: a listing of many pages, an upload of many parts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from fsspec.asyn import sync_wrapper

from filerow.backends._deadlines import ATTEMPTS, KEPT
from filerow.backends.fsspec.flavours import flavour_of, protocol_of

__all__ = ("limit", "limited_again")

_AT_ONCE = 8 << 20  # bytes that any network in use sends in the time that several attempts may take; a part is smaller


def limit(fs: Any, protocol: str, seconds: float) -> None:
    """Set the limits of a filesystem that has just been built.

    Args:
        fs: The filesystem.
        protocol: As in URLs.
        seconds: How long the server may be silent.
    """
    setattr(fs, KEPT, seconds)
    together = 2 * ATTEMPTS * seconds
    if protocol in {"s3", "s3a"}:
        _limit_s3fs(fs, together)
    elif protocol in {"gs", "gcs"}:
        _limit_gcsfs(fs, together)
    elif protocol in {"az", "abfs", "abfss", "adl"}:
        _limit_adlfs(fs, seconds, together)
    elif protocol in {"sftp", "ssh"}:
        fs.ftp.get_channel().settimeout(seconds)


def limited_again(fs: Any, *, like: Any = None) -> None:
    """Set up a filesystem whose connection is new, with the limits that it had, if any.

    Args:
        fs: The filesystem.
        like: Another one, whose limits it is to have.
    """
    protocol = protocol_of(fs)
    flavour_of(protocol).prepare(fs)
    seconds = getattr(fs if like is None else like, KEPT, None)
    if seconds is not None:
        limit(fs, protocol, seconds)


def _limit_s3fs(fs: Any, together: float) -> None:
    fs.retries = ATTEMPTS
    ask = fs._call_s3  # noqa: SLF001 - what its own call_s3() runs

    async def limited(method: str, *args: Any, **options: Any) -> Any:
        await fs.set_session()  # building the first client is work, and no silence
        return await _in_time(lambda: ask(method, *args, **options), options.get("Body"), together)

    fs._call_s3, fs.call_s3 = limited, sync_wrapper(limited, obj=fs)  # noqa: SLF001 - there is no public place


def _limit_gcsfs(fs: Any, together: float) -> None:
    ask = fs._call  # noqa: SLF001 - what its own call() runs

    async def limited(method: str, path: str, *args: Any, **options: Any) -> Any:
        if method == "GET" and not options.get("json_out"):  # content, of any size; aiohttp limits the silence in it
            return await ask(method, path, *args, **options)
        return await _in_time(lambda: ask(method, path, *args, **options), options.get("data"), together)

    fs._call, fs.call = limited, sync_wrapper(limited, obj=fs)  # noqa: SLF001 - there is no public place


def _limit_adlfs(fs: Any, seconds: float, together: float) -> None:
    client = fs.service_client
    # adlfs gives its limit to uploads and downloads only; the others would wait for a minute
    client._pipeline._transport.connection_config.read_timeout = seconds  # noqa: SLF001 - there is no public place
    policy = client._config.retry_policy  # noqa: SLF001 - it makes the attempts of every request
    ask = policy.send

    async def limited(request: Any) -> Any:
        return await _in_time(lambda: ask(request), request.http_request.data, together)

    policy.send = limited


async def _in_time(ask: Callable[[], Awaitable[Any]], body: Any, seconds: float) -> Any:
    """Wait for an answer, longer when much has to be sent first.

    Raises:
        TimeoutError: It did not come.
    """
    size = len(body) if isinstance(body, (bytes, bytearray, memoryview)) else getattr(body, "nbytes", 0)
    allowed = seconds * (1 + size // _AT_ONCE)
    deadline = asyncio.timeout(allowed)
    try:
        async with deadline:
            return await ask()
    except TimeoutError as error:
        if not deadline.expired():  # the client's own words
            raise
        msg = f"no answer within {allowed:g} s"
        raise TimeoutError(msg) from error
