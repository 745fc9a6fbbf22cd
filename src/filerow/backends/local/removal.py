"""Deleting files together with the folders that they leave empty.

A folder goes when its last object does, and then its parents, up to the root. Somebody who is just storing an object there makes
them again: the system makes no file in a folder that is gone, and :class:`Draft` starts over then.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Self

from filerow.backends.local.directory import Directory


class _Level:
    """An open folder on the way to the one in work.

    Attributes:
        directory: It, open.
        name: Its name in its parent.
        path: Its path below the root, with ``/`` before it; empty for the root.
        unsynced: Deleted paths whose absence is not on the disk until this folder is.
        touched: It may be empty now.
    """

    __slots__ = ("directory", "name", "path", "touched", "unsynced")

    def __init__(self, directory: Directory, name: str = "", path: str = "") -> None:
        self.directory = directory
        self.name = name
        self.path = path
        self.unsynced: list[str] = []
        self.touched = False


class Remover:
    """Deletes files, folder by folder.

    Those of neighbouring folders cost least one after the other: what leads to both is opened once, and written to the disk once.

    Args:
        root: The open root; it is closed at the end.
        fsync: Wait until it is on the disk.
        on_removed: Called with the path of each folder that is gone.

    Attributes:
        failed: The paths that could not be deleted, each with its error.
    """

    def __init__(self, root: Directory, *, fsync: bool, on_removed: Callable[[str], object]) -> None:
        self.failed: dict[str, BaseException] = {}
        self._levels = [_Level(root)]
        self._fsync = fsync
        self._on_removed = on_removed

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        while self._levels:
            self._leave()

    def visit(self, folder: str) -> Directory:
        """Open a folder below the root; it is removed afterwards if it is empty.

        Raises:
            OSError: It is missing, or not a folder. Its parents are removed if they are empty.
        """
        names = folder.split("/") if folder else []
        common = 0
        while common < min(len(names), len(self._levels) - 1) and self._levels[common + 1].name == names[common]:
            common += 1
        while len(self._levels) > common + 1:
            self._leave()
        for name in names[common:]:
            here = self._levels[-1]
            try:
                below = here.directory.child(name)
            except OSError:
                here.touched = True
                raise
            self._levels.append(_Level(below, name, f"{here.path}/{name}"))
        self._levels[-1].touched = True
        return self._levels[-1].directory

    def delete(self, names: Mapping[str, str], is_absent: Callable[[Exception], bool]) -> None:
        """Delete files of the folder that was visited last.

        Args:
            names: Their names in it, by path.
            is_absent: Returns True for the error of a file that is not there.
        """
        here = self._levels[-1]
        for path, name in names.items():
            try:
                here.directory.unlink_object(name)
                here.unsynced.append(path)
            except OSError as error:
                if not is_absent(error):
                    self.failed[path] = error

    def _leave(self) -> None:
        level = self._levels.pop()
        with level.directory:
            parent = self._levels[-1] if self._levels else None
            if parent is not None and level.touched and parent.directory.remove(level.name):
                parent.touched = True
                parent.unsynced += level.unsynced
                self._on_removed(level.path)
            elif self._fsync and level.unsynced:  # or a power failure could bring back objects that no row names
                try:
                    level.directory.sync()
                except OSError as error:
                    self.failed |= dict.fromkeys(level.unsynced, error)
