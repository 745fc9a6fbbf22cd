"""Which flavour a filesystem has, by its protocol."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Generator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

from filerow.backends._types import Capabilities
from filerow.backends.fsspec.adlfs import Azure
from filerow.backends.fsspec.errors import by_number
from filerow.backends.fsspec.flavour import Flavour
from filerow.backends.fsspec.gcsfs import GCS
from filerow.backends.fsspec.remote.ftp import FTP
from filerow.backends.fsspec.remote.sftp import SFTP
from filerow.backends.fsspec.remote.smb import SMB
from filerow.backends.fsspec.s3fs import S3


class Unknown(Flavour):
    """A filesystem not known here; its errors may mean something by ``errno`` only."""

    takes_turns = True

    @contextmanager
    def turn(self, fs: Any, name: str, *, in_file: bool) -> Generator[None]:
        try:
            yield
        except OSError as error:
            meant = by_number(error)
            if meant is error:
                raise
            raise meant from error


class InMemory(Flavour):
    """A dictionary of this process, which is locked here."""

    capabilities: Capabilities = Capabilities(ordered_list=True)
    removes_folders = False

    def client_options(self) -> Collection[str]:
        return ()


class Files(Flavour):
    """Local files."""

    capabilities: Capabilities = Capabilities(ordered_list=True)
    exclusive_mode: str | None = "xb"
    removes_folders = False
    defaults: ClassVar[Mapping[str, Any]] = {"auto_mkdir": True}

    def client_options(self) -> Collection[str]:
        return ()

    def may_remove(self, root: str, folder: str) -> bool:
        """Return True for a folder below the root that is reached through no link."""
        top, here = root.rstrip("/"), folder.removeprefix(f"{root.rstrip('/')}/")
        return here != folder and os.path.realpath(folder) == os.path.join(os.path.realpath(top), *here.split("/"))  # noqa: PTH118 - as fsspec does


_FLAVOURS: Mapping[str, Callable[[], Flavour]] = {
    "memory": InMemory,
    **dict.fromkeys(("file", "local"), Files),
    **dict.fromkeys(("sftp", "ssh"), SFTP),
    "ftp": FTP,
    "smb": SMB,
    **dict.fromkeys(("s3", "s3a"), S3),
    **dict.fromkeys(("gs", "gcs"), GCS),
    **dict.fromkeys(("az", "abfs", "abfss", "adl"), Azure),
}


def protocol_of(fs: Any) -> str:
    """Return the first of a filesystem's names."""
    protocol = fs.protocol
    return str(protocol if isinstance(protocol, str) else protocol[0])


def flavour_of(protocol: str) -> Flavour:
    """Return what is known of the filesystems of this protocol."""
    return _FLAVOURS.get(protocol, Unknown)()
