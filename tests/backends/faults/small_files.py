"""Run in a process of its own: a limit on the length of files, as ``ulimit -f`` sets it, and a folder that may not be written.

Usage: small_files.py FOLDER
"""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path

from filerow import FileObject, storages
from filerow.backends.local import LocalBackend
from filerow.exceptions import StorageError, StoragePermissionError

LIMIT = 100_000


def files(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file()]


def main() -> None:
    root = Path(sys.argv[1]) / "root"
    storages.register_backend(LocalBackend("docs", root))
    FileObject("docs", "a.bin", content=iter([b"imports what is needed, which another user may not be able to"])).save().delete()
    if os.geteuid() == 0:  # permissions do not bind root
        for folder in (root, *root.rglob("*")):
            os.chown(folder, 65534, 65534)
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, before[1]))
    for content in (b"x" * 2 * LIMIT, iter([b"x" * 10_000] * 20)):
        refused(content, StorageError, "larger than the file system or the process's limit allows")
        assert not files(root)
    kept = FileObject("docs", "a.bin", content=b"x" * LIMIT).save()
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    FileObject("docs", "a.bin", content=b"x" * 2 * LIMIT).save()
    for folder in (root, *root.rglob("*")):
        folder.chmod(0o555 if folder.is_dir() else 0o444)
    refused(b"x", StoragePermissionError, "the process may not do this")
    assert kept.get_content() == b"x" * LIMIT
    for folder in (root, *root.rglob("*")):
        folder.chmod(0o777)
    FileObject("docs", "a.bin", content=b"x").save()
    assert len(files(root)) == 3


def refused(content: object, kind: type[StorageError], text: str) -> None:
    try:
        FileObject("docs", "a.bin", content=content).save()
    except kind as error:
        assert text in str(error), error  # noqa: PT017 - no pytest in here
    else:
        raise AssertionError(text)


if __name__ == "__main__":
    main()
