"""Write files where they show while they are written: aside, then moved."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from filerow._buffers import Buffer
from filerow.backends._deadlines import is_timeout
from filerow.backends._foreign import own
from filerow.backends.fsspec.flavour import Flavour

_ATTEMPTS = 20  # to make a folder that others make or remove at the same time


def is_taken(client: Any, name: str) -> bool:
    """Return True if a name is taken; fsspec's ``exists()`` hides dead servers."""
    return _kind(client, name) is not None


def is_folder(client: Any, name: str) -> bool:
    """Return True if a folder has a name; so does fsspec's ``isdir()``."""
    return _kind(client, name) == "directory"


def _kind(client: Any, name: str) -> str | None:
    try:
        return str(client.info(name)["type"])
    except (FileNotFoundError, NotADirectoryError):
        return None


def put_file(client: Any, flavour: Flavour, target: str, staging: str, chunks: Iterable[Buffer], *, create_only: bool) -> None:
    """Write a file as :func:`_put_once` does, again if its folder was removed.

    A content that can be read once is not written again; of variants, whose folders come and go, all bytes are known.
    """
    if not (flavour.opens_blindly and isinstance(chunks, list)):
        _put_once(client, flavour, target, staging, chunks, create_only=create_only)
        return
    for attempt in range(_ATTEMPTS):
        try:
            _put_once(client, flavour, target, staging, chunks, create_only=create_only)
        except Exception as error:
            broken = is_timeout(error) or isinstance(error, (ConnectionError, FileExistsError))
            if broken or attempt == _ATTEMPTS - 1 or is_folder(client, target.rpartition("/")[0]):
                raise
        else:
            return


def _put_once(client: Any, flavour: Flavour, target: str, staging: str, chunks: Iterable[Buffer], *, create_only: bool) -> None:
    """Write a file beside its target, and move it there.

    Args:
        client: The filesystem.
        flavour: What is known of it.
        target: Where the file is to be.
        staging: A free name in the same folder.
        chunks: What is in it.
        create_only: Refuse a target that is taken.

    Raises:
        FileExistsError: The target is taken, or a folder.
        ConnectionError: The server has less than was sent.
    """
    if create_only and is_taken(client, target):
        raise FileExistsError(target)
    sent = 0
    try:
        with _open_new(client, flavour, staging) as file:
            for chunk in chunks:
                data = own(chunk)
                file.write(data)
                sent += len(data)
        if flavour.cuts_short:
            _check_whole(client, staging, sent)
        _publish(client, flavour, staging, target, create_only=create_only)
    except BaseException:
        with suppress(Exception):
            client.rm_file(staging)
        raise


def _check_whole(client: Any, name: str, sent: int) -> None:
    client.invalidate_cache()
    size = int(client.info(name)["size"])
    if size != sent:
        raise ConnectionError(f"the connection was cut: the server has {size} of the {sent} bytes that were sent")


def _open_new(client: Any, flavour: Flavour, name: str) -> Any:
    folder = name.rpartition("/")[0]
    if flavour.opens_blindly:
        _make_folders(client, folder)
    for _ in range(_ATTEMPTS):
        try:
            return client.open(name, "wb")
        except FileNotFoundError:
            _make_folder(client, folder)
    return client.open(name, "wb")


def _make_folders(client: Any, folder: str) -> None:
    for _ in range(_ATTEMPTS):
        if is_folder(client, folder):
            return
        _make_folder(client, folder)


def _make_folder(client: Any, folder: str) -> None:
    try:
        client.makedirs(folder, exist_ok=True)
    except Exception as error:
        if is_timeout(error) or isinstance(error, ConnectionError):
            raise
        # else another writer may be making the same folders, and what is in the way is reported when the file is written


def _publish(client: Any, flavour: Flavour, staging: str, target: str, *, create_only: bool) -> None:
    found = _kind(client, target)
    if found == "directory" or (create_only and found is not None):
        raise FileExistsError(target)
    if not create_only:
        flavour.replace(client, staging, target)
        return
    if flavour.exclusive_mode is None:
        client.mv(staging, target)
        return
    try:
        client.open(target, flavour.exclusive_mode).close()  # one of many writers gets the name
    except OSError as error:
        if not is_timeout(error) and is_taken(client, target):  # SFTP reports it as any failure
            raise FileExistsError(target) from error
        raise
    try:
        client.mv(staging, target)
    except BaseException:
        with suppress(Exception):
            client.rm_file(target)
        raise


def remove_folders(client: Any, flavour: Flavour, root: str, names: Iterable[str]) -> None:
    """Remove the folders of deleted files, and their parents, where they are empty.

    Args:
        client: The filesystem.
        flavour: What is known of it; it chooses the folders.
        root: Where the objects are; it stays.
        names: The files.
    """
    for folder in dict.fromkeys(name.rpartition("/")[0] for name in names):
        while flavour.may_remove(root, folder):
            try:
                client.rmdir(folder)
            except FileNotFoundError:
                pass  # somebody else has removed it, and perhaps not yet its parent
            except Exception:  # it is not empty, or this user may not  # noqa: BLE001
                break
            folder = folder.rpartition("/")[0]  # noqa: PLW2901 - and now its parent


def remove_file(client: Any, flavour: Flavour, name: str) -> None:
    """Remove a file, and never a folder.

    Raises:
        FileNotFoundError: There is none.
        PermissionError: The server refuses for an unknown reason; the file is still there.
    """
    if not flavour.objects and flavour.removes_folders and is_folder(client, name):
        return
    try:
        client.rm_file(name)
    except FileNotFoundError as error:
        if flavour.one_refusal:
            client.invalidate_cache()
            client.info(name)  # raises the same error when the file is gone
            raise PermissionError(str(error)) from error
        raise
