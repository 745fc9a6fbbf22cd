"""A program: uses a store, forks, and lets the child use it, and then upload to it when it has stopped reading."""

from __future__ import annotations

import json
import os
import sys

from filerow.backends.base import PutOptions
from filerow.backends.fsspec import FSSpecBackend
from filerow.exceptions import StorageError
from tests.backends.faults.operations import ONE_REQUEST


def main() -> None:
    """Run what the module describes; the arguments of the backend are the program's one argument, in JSON."""
    store = FSSpecBackend("docs", **json.loads(sys.argv[1]))
    store.put("parent", b"parent")
    child = os.fork()
    if child:
        os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    store.put("child", b"child")
    print("the child has used the store", flush=True)  # noqa: T201 - a program's output
    sys.stdin.readline()
    try:
        store.put("big", ONE_REQUEST, PutOptions(create_only=False))
    except StorageError as error:
        print(type(error).__name__, flush=True)  # noqa: T201 - as above
    os._exit(0)


if __name__ == "__main__":
    main()
