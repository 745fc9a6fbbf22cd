"""Runs tests again and again, each time in a fresh fork, with another fault in one module.

``python tools/mutation/worker.py`` in the copy of the tree that is to be broken. What takes long to import is imported before
the first fork, but nothing of the library and nothing of its tests, so that each fork finds them as they are on disk then.

One JSON object per line comes in: ``module`` (a path), ``source`` (its text, or null: as it is), ``tests`` (arguments of pytest),
``timeout`` (seconds). One per line goes out: ``code`` (pytest's exit status, -1 for an end by signal or by the timeout),
``seconds``, ``timed_out``, ``output`` (its end).
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import traceback
from importlib import import_module
from pathlib import Path
from typing import Any

HEAVY = (
    "pytest", "_pytest.assertion.rewrite", "pytest_asyncio", "hypothesis", "hypothesis.strategies", "sqlalchemy",
    "sqlalchemy.orm", "sqlalchemy.ext.asyncio", "sqlalchemy.dialects.sqlite", "sqlalchemy.dialects.postgresql", "aiosqlite",
    "obstore", "obstore.store", "pydantic", "itsdangerous", "fsspec", "psycopg", "asyncpg", "pymysql",
)  # fmt: skip

QUIETLY = ("-p", "no:xdist", "-W", "ignore::pytest.PytestAssertRewriteWarning")  # pytest's plugins are imported already


def main() -> None:
    """Answer until there is no more to do."""
    prepare()
    for line in sys.stdin:
        order = json.loads(line)
        module = Path(order["module"])
        original = module.read_bytes()
        try:
            if order["source"] is not None:
                Path(_cached(module)).unlink(missing_ok=True)
                module.write_text(order["source"])
            answer = attempt(order["tests"], order["timeout"], broken=order["source"] is not None)
        finally:
            module.write_bytes(original)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def prepare() -> None:
    """Import what is heavy, and make hypothesis try the same examples each time, without looking for simpler ones."""
    for name in HEAVY:
        import_module(name)
    from hypothesis import Phase, settings

    settings.register_profile("mutation", derandomize=True, database=None, deadline=None, phases=[Phase.explicit, Phase.generate])
    settings.load_profile("mutation")
    assert not [name for name in sys.modules if name.partition(".")[0] in {"filerow", "tests"}]


def attempt(tests: list[str], timeout: float, *, broken: bool) -> dict[str, Any]:
    """Run tests in a child, and say how that ended."""
    output = Path("output.txt").absolute()
    started = time.monotonic()
    child = os.fork()
    if child == 0:
        run(tests, output, broken=broken)
    status = _wait(child, started + timeout)
    seconds = time.monotonic() - started
    code = -1 if status is None or not os.WIFEXITED(status) else os.WEXITSTATUS(status)
    end = output.read_text(errors="replace")[-4000:]
    return {"code": code, "seconds": seconds, "timed_out": status is None, "output": end}


def run(tests: list[str], output: Path, *, broken: bool) -> None:
    """Run pytest in this process, which is a child, and end it."""
    os.setsid()
    sink = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(sink, stream)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    if broken:  # what is compiled of a broken module must not outlive it
        sys.dont_write_bytecode = True
        os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    code = 70
    try:
        import pytest

        code = int(pytest.main(["-x", "-q", "--no-header", *QUIETLY, *tests]))
    except BaseException:  # noqa: BLE001 - a child must end here, whatever happens
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _wait(child: int, deadline: float) -> int | None:
    """Return the child's status; ``None`` when its time was over. Whatever it started ends with it."""
    pause = 0.01
    while True:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            _end(child)
            return status
        if time.monotonic() > deadline:
            _end(child)
            os.waitpid(child, 0)
            return None
        time.sleep(pause)


def _end(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return


def _cached(module: Path) -> str:
    from importlib.util import cache_from_source

    return cache_from_source(str(module))


if __name__ == "__main__":
    main()
