"""A program: forks by hand and by the standard library, and prints what became of it in the children and in itself."""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from filerow import FileObject, storages
from tests.execution.stores import registered
from tests.execution.work import attach, attach_async, make_tables, outcome


def in_fork(work: Any = attach) -> dict[str, Any]:
    """Fork, and return what the child reports."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, json.dumps(outcome(work)).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as answer:
        report: dict[str, Any] = json.loads(answer.read())
    os.waitpid(child, 0)
    return report


def while_uploading() -> dict[str, Any]:
    """Fork while another thread uploads; its upload ends as if nothing had happened."""
    begun, go_on = threading.Event(), threading.Event()

    def content() -> Iterator[bytes]:
        yield b"x" * (6 << 20)
        begun.set()
        go_on.wait()
        yield b"y" * (6 << 20)

    file = FileObject("docs", "big.bin", content=content())
    thread = threading.Thread(target=file.save)
    thread.start()
    begun.wait()
    report = in_fork()
    go_on.set()
    thread.join()
    assert file.size == 12 << 20
    file.delete()
    return report


def in_pool(method: str) -> dict[str, Any]:
    """Return what a process of a pool reports."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context(method)) as pool:
        return pool.submit(in_child).result()


def in_child() -> dict[str, Any]:
    if not storages.is_registered("docs"):  # this process was not forked from one that has imported the application
        registered()
    return outcome()


def main(used: bool, methods: list[str]) -> None:
    registered()
    make_tables()
    if used:
        attach()
    report = {"fork": in_fork(), "fork, awaited": in_fork(attach_async)}
    for method in methods:
        report[method] = in_pool(method)
    report["fork while uploading"] = while_uploading()
    report["parent"] = outcome()
    report["fork of the parent after that"] = in_fork()
    sys.stdout.write(json.dumps(report) + "\n")


if __name__ == "__main__":
    main(sys.argv[1] == "used", sys.argv[2:])
