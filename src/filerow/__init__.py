"""Files that follow their SQLAlchemy rows: JSON in the row, bytes in a store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from filerow._file.object import FileObject, FileState
from filerow._orm.column import StoredObject, on_first_use
from filerow._paths import PathRequest
from filerow._registry import StorageRegistry, storages
from filerow._validation.validators import Inspection, whole_content
from filerow.backends._stored_with import Encryption, StoredWith
from filerow.backends.base import StorageBackend
from filerow.exceptions import FilerowError

if TYPE_CHECKING:
    from typing import TypeAlias

    # A column takes any list of files and makes a FileObjectList of it. SQLAlchemy's Mapped[] gives an attribute one type for
    # reading and for assigning, so type checkers are shown what both have in common.
    FileObjectList: TypeAlias = list[FileObject]
else:
    from filerow._file.list import FileObjectList

__all__ = (
    "Encryption",
    "FileObject",
    "FileObjectList",
    "FileState",
    "FilerowError",
    "Inspection",
    "PathRequest",
    "StorageBackend",
    "StorageRegistry",
    "StoredObject",
    "StoredWith",
    "storages",
    "whole_content",
)

__version__ = "0.1.0"


@on_first_use
def _install() -> None:
    """Register for SQLAlchemy's events at the first file column, and not before."""
    from filerow._orm.events import install

    install()


del TYPE_CHECKING, on_first_use
