"""A process that ends when the one that has started it is gone, however that ended: ``leash.py PARENT PROGRAM ARGUMENT…``.

On Linux the kernel sees to it, also while the process is stopped. Elsewhere nothing does. It needs the standard library only.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Sequence

__all__ = ("leashed",)

_PR_SET_PDEATHSIG = 1


def leashed(command: Sequence[str]) -> list[str]:
    """Return the command that runs another one, with the same process number, until the thread that starts it ends."""
    return [sys.executable, "-S", __file__, str(os.getpid()), *command]


def main(parent: int, command: Sequence[str]) -> None:
    """Become the command, on the leash."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it has ended meanwhile
            return
    os.execvp(command[0], list(command))  # noqa: S606 - no shell is needed


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
