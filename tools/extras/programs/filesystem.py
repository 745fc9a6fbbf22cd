"""What the programs for fsspec's filesystems share: a life of a file in one."""

from uuid import uuid4

from filerow import FileObject, storages
from filerow.backends.base import PutOptions
from filerow.backends.fsspec import FSSpecBackend
from filerow.exceptions import ObjectExistsError, ObjectNotFoundError
from tools.extras.programs.model import CONTENT


def live(backend: FSSpecBackend) -> None:
    """Write, read, sign, list, copy and delete."""
    folder = uuid4().hex
    storages.register_backend(backend)
    file = FileObject(backend, "a.txt", content=CONTENT, to_filename=f"{folder}/a.txt").save()
    assert file.get_content() == CONTENT
    assert b"".join(file.stream(start=2, end=5)) == CONTENT[2:5]
    try:
        backend.put(f"{folder}/a.txt", b"other", PutOptions(create_only=True))
    except ObjectExistsError:
        pass
    else:
        raise AssertionError("a taken path was written to")
    assert [found.path for found in backend.list(folder)] == [f"{folder}/a.txt"]
    backend.copy(f"{folder}/a.txt", f"{folder}/b.txt")
    assert backend.read(f"{folder}/b.txt") == CONTENT
    large = bytes(6 << 20)
    backend.put(f"{folder}/c.bin", iter([large, large]))
    assert backend.head(f"{folder}/c.bin").size == 2 * len(large)
    failed = backend.delete([f"{folder}/a.txt", f"{folder}/b.txt", f"{folder}/c.bin"])
    assert not failed, failed
    try:
        backend.read(f"{folder}/a.txt")
    except ObjectNotFoundError:
        return
    raise AssertionError("a deleted object was read")
