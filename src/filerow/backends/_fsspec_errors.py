"""What errors mean whose type does not say: filesystems that nobody here knows, and SMB's, may say it by a number only."""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ("ByNumber", "by_number")


_OF_SMB: Mapping[object, int] = {
    0xC0000022: errno.EACCES,  # STATUS_ACCESS_DENIED
    0xC0000056: errno.ENOENT,  # STATUS_DELETE_PENDING: deleted, and somebody has it open still
}
"""Statuses (MS-ERREF, 2.3) that smbprotocol has no number for."""


def by_number(call: Callable[..., Any]) -> Callable[..., Any]:
    """Return a call that raises the builtin error of an error's ``errno``: ``FileNotFoundError`` for ``ENOENT``, and so on."""

    def called(*args: Any, **options: Any) -> Any:
        try:
            return call(*args, **options)
        except OSError as error:
            number = _OF_SMB.get(getattr(error, "ntstatus", None), error.errno)
            meant = OSError(number, str(error))  # Python chooses the subclass
            if isinstance(error, type(meant)):
                raise
            raise meant from error

    return called


class ByNumber:
    """A filesystem whose calls do so.

    Args:
        fs: The filesystem.
    """

    def __init__(self, fs: Any) -> None:
        self._fs = fs

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._fs, name)
        return by_number(value) if callable(value) else value
