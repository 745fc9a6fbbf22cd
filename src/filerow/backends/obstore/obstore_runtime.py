"""Where obstore's native runtime needs care: after a fork, and when the interpreter ends.

Its threads do not survive ``os.fork()``, yet it believes they did: nearly every call in the child hangs for ever, through
new stores as well, local ones included. An error at once is better.
"""

from __future__ import annotations

import atexit
import os
import time

from filerow.exceptions import ForkedProcessError

__all__ = ("enter",)

_SETTLING = 0.02

_used = False
_dead = False


def _after_fork() -> None:
    global _dead  # noqa: PLW0603 - one native runtime per process, so one flag per process
    _dead = _used


if hasattr(os, "register_at_fork"):  # absent where there is no fork
    os.register_at_fork(after_in_child=_after_fork)


@atexit.register
def _settle() -> None:
    """Let native threads finish what follows an awaited call; one that meets a finalized interpreter aborts the process."""
    if _used and not _dead:
        time.sleep(_SETTLING)


def enter(operation: str, backend: str, path: str) -> None:
    """Note that the native runtime is used from here on, or refuse when a fork has killed it.

    Raises:
        ForkedProcessError: A parent of this process had used obstore before it forked.
    """
    global _used  # noqa: PLW0603
    if _dead:
        msg = (
            "obstore was used before os.fork(), so its native runtime would hang in this child process; use backends only "
            "after the fork (gunicorn: without --preload), or start processes with 'spawn' or 'forkserver'"
        )
        raise ForkedProcessError(msg, operation=operation, backend=backend, path=path)
    _used = True
