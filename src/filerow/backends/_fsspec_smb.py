"""SMB through smbprotocol, which gives a process one connection to a server, whoever uses it.

Each request takes credits for its bytes (MS-SMB2, 3.2.4.1.2), and a large one takes all that there are. smbprotocol refuses a
request that finds none left, where it could wait, so calls wait for each other here. A thread of it reads the answers, and a
forked child has no such thread, so it leaves the connection to its parent.
"""

from __future__ import annotations

import os
import threading
from importlib import import_module
from typing import Any

__all__ = ("leave_behind", "lock_of")

_locks: dict[tuple[int, str, int], threading.RLock] = {}
_left_behind: list[dict[str, Any]] = []


def lock_of(fs: Any) -> threading.RLock:
    """Return what a call holds that must wait for others; another one in a forked child, where nobody would let go of it."""
    return _locks.setdefault((os.getpid(), fs.host.lower(), fs._port), threading.RLock())  # noqa: SLF001 - its default, too


def leave_behind() -> None:
    """Forget, in a forked child, the connections of its parent: without a word to the server, which would end them."""
    pool: dict[str, Any] = import_module("smbclient._pool")._SMB_CONNECTIONS  # noqa: SLF001 - there is no public place
    _left_behind.append(dict(pool))
    pool.clear()
