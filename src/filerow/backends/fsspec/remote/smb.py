"""SMB through smbprotocol, which has one connection per process and server.

Each request takes credits for its bytes (MS-SMB2, 3.2.4.1.2), and a large one takes all that there are. smbprotocol refuses a
request that finds none left, where it could wait, so calls wait for each other here. It does not connect again with the name
and password that it was given, so a connection that was lost, or has not answered in time, is made again here. A thread of it
reads the answers, and a forked child has no such thread, so it leaves the connection to its parent.
"""

from __future__ import annotations

import os
import re
import socket
import struct
import threading
from collections.abc import Collection, Mapping
from contextlib import suppress
from importlib import import_module
from typing import Any, ClassVar

from filerow.backends._deadlines import connect_within, is_timeout
from filerow.backends._types import Capabilities
from filerow.backends.fsspec.errors import by_number
from filerow.backends.fsspec.flavour import KEPT
from filerow.backends.fsspec.remote.one_connection import OneConnection

_locks: dict[tuple[int, str], threading.RLock] = {}
_left_behind: list[dict[str, Any]] = []


class SMB(OneConnection):
    """Files by SMB, of which smbprotocol can do more than fsspec shows."""

    capabilities: Capabilities = Capabilities(ordered_list=True)  # exclusive, for its mv() refuses a name that is taken
    misread: re.Pattern[str] | None = re.compile(
        r'[\x01-\x1f"*:<>?|]|[. ](?:/|\Z)'
    )  # Windows has no such names, or takes them for others
    defaults: ClassVar[Mapping[str, Any]] = {"share_access": "rwd"}  # or who reads a file keeps others from it

    def client_options(self) -> Collection[str]:
        return ("temppath",)

    def with_limits(self, options: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        return {"timeout": connect_within(seconds), "register_session_retries": -1, **options}  # it connects when it is used

    def lock(self, fs: Any) -> threading.RLock:
        # another lock in a forked child, where nobody would release this one
        return _locks.setdefault((os.getpid(), _name(fs)), threading.RLock())

    def connect(self, fs: Any) -> None:
        """Make a connection where there is none, and limit one made elsewhere."""
        seconds = getattr(fs, KEPT, None)
        connection = _pool().get(_name(fs))
        if connection is None or not connection.transport.connected:
            _pool()[_name(fs)] = _connected(fs, seconds)
            return
        if seconds is not None and not hasattr(connection, KEPT):
            _limit(connection, seconds)
            _log_in(fs, connection)
        _check_user(fs, connection)

    def meaning(self, error: Exception, name: str) -> Exception:
        if isinstance(error, BlockingIOError) or is_timeout(error):
            return error if isinstance(error, TimeoutError) else TimeoutError(str(error))
        if isinstance(error, OSError):  # the answer to a request, whose text may be a file's name
            return by_number(error)
        kind, text = type(error).__name__, str(error)
        # one call at a time that finds no credits comes after one that was not answered, and which it has to clean up after
        if text.startswith("Connection timeout of") or "credits are available" in text:
            return TimeoutError(text)
        if kind == "SMBConnectionClosed" or text.startswith("Failed to connect"):
            return ConnectionError(text)
        return PermissionError(text) if kind in {"LogonFailure", "SMBAuthenticationError"} else error

    def end(self, fs: Any) -> None:
        """End a connection: the next call would wait for the late answer, too."""
        connection = _pool().get(_name(fs))
        if connection is None:
            return
        with suppress(Exception):
            connection.disconnect(close=False)
        for session in connection.session_table.values():
            for handle in session.open_table.values():
                handle._connected = False  # or it complains that nobody closes it  # noqa: SLF001 - there is no public place

    def leave_behind(self) -> None:
        """Forget the parent's connections in a forked child, without ending them."""
        pool = _pool()
        _left_behind.append(dict(pool))
        pool.clear()

    def replace(self, fs: Any, source: str, target: str) -> None:
        names = (rf"\\{fs.host}{name}".replace("/", "\\") for name in (source, target))
        with self.turn(fs, "replace", in_file=False):
            import_module("smbclient").replace(*names, port=_port(fs))  # its own mv() refuses a name that is taken


def _port(fs: Any) -> int:
    return int(fs._port)  # noqa: SLF001 - its default, too


def _name(fs: Any) -> str:
    """Return what smbclient calls the connection."""
    return f"{fs.host.lower()}:{_port(fs)}"


def _pool() -> dict[str, Any]:
    pool: dict[str, Any] = import_module("smbclient._pool")._SMB_CONNECTIONS  # noqa: SLF001 - there is no public place
    return pool


def _connected(fs: Any, seconds: float | None) -> Any:
    make = import_module("smbprotocol.connection").Connection
    connection = make(import_module("smbclient").ClientConfig().client_guid, fs.host, _port(fs))
    connection.connect(timeout=fs.timeout)
    try:
        _limit(connection, seconds)
        _log_in(fs, connection)
    except BaseException:
        connection.disconnect(close=False)
        raise
    return connection


def _check_user(fs: Any, connection: Any) -> None:
    user = next((session.username for session in connection.session_table.values()), None)
    if fs.username is not None and user != fs.username:
        raise PermissionError(
            f"this process is logged in to {_name(fs)} as {user!r}, and smbprotocol would do as that user what is to be done as"
            f" {fs.username!r}: let a process use one user for each server"
        )


def _log_in(fs: Any, connection: Any) -> None:
    named = {"username": fs.username, "password": fs.password, "port": _port(fs), "encrypt": fs.encrypt}
    import_module("smbclient").register_session(fs.host, **named, connection_cache={_name(fs): connection})


def _limit(connection: Any, seconds: float | None) -> None:
    """Limit how long each answer, and each part of a request, is waited for."""
    if seconds is None:
        return
    setattr(connection, KEPT, seconds)
    receive = connection.receive

    def limited(request: Any, wait: bool = True, timeout: float | None = None, resolve_symlinks: bool = True) -> Any:  # noqa: FBT001, FBT002 - as it is called
        return receive(request, wait, seconds if timeout is None else timeout, resolve_symlinks)

    connection.receive = limited
    whole, part = divmod(seconds, 1)
    silence = struct.pack("ll", int(whole), int(part * 1e6)) if os.name == "posix" else struct.pack("L", int(seconds * 1e3))
    connection.transport._sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, silence)  # noqa: SLF001 - no public place
