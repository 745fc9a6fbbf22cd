"""Run the experiments: ``python -m benchmarks.compare``, from the root of a checkout.

Each experiment runs in a process of its own that has imported one library, with a folder of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import signal
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import asdict
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks.compare.experiments import EXPERIMENTS
from benchmarks.compare.lab import S3, Answer, Lab
from benchmarks.compare.libraries import LIBRARIES, Library

ROOT = Path(__file__).parents[2]
TIMEOUT = 300
Results = dict[str, dict[str, Answer]]


def versions(library: Library) -> str:
    """Name the installed versions of a library and of what it stands on; empty if it is not installed."""
    try:
        return ", ".join(f"{name} {version(name)}" for name in library.distributions)
    except PackageNotFoundError:
        return ""


def run(name: str, library: Library, folder: Path, s3: S3 | None, *, recipe: bool) -> Answer:
    """Run one experiment in this process."""
    try:
        return EXPERIMENTS[name](Lab(library, folder, s3, recipe=recipe))
    except Exception as error:  # noqa: BLE001 - that is an answer too
        message = re.sub(r"\s+", " ", str(error).replace(str(folder), "..."))
        return Answer("error", f"{type(error).__name__}: {message[:160]}")


def run_apart(name: str, library: Library, s3: S3 | None, *, recipe: bool = False) -> Answer:
    """Run one experiment in a child of this process, in which nothing has happened yet but imports."""
    with tempfile.TemporaryDirectory(prefix="filerow-compare-") as folder:
        answer_file = Path(folder, "answer.json")
        if not (child := os.fork()):
            signal.alarm(TIMEOUT)
            answer_file.write_text(json.dumps(run(name, library, Path(folder), s3, recipe=recipe)))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if status == 0:
            return Answer(*json.loads(answer_file.read_text()))
    return Answer("error", f"the process ended with {os.waitstatus_to_exitcode(status)}")


def ask(name: str, library: Library, s3: S3 | None) -> Answer:
    """Run one experiment; on a no, once more with what an application can do by hand."""
    answer = run_apart(name, library, s3)
    if answer.value != "yes" and name in library.recipes and run_apart(name, library, s3, recipe=True).value == "yes":
        return Answer("by hand", f"{answer.note}; {library.recipes[name]}")
    return answer


def run_library(key: str, names: list[str], s3: S3 | None) -> dict[str, Answer]:
    """Run all experiments on one library, in a process that knows no other."""
    library = LIBRARIES[key]
    if not versions(library):
        return dict.fromkeys(names, Answer("not run", f"pip install {library.distributions[0]}"))
    job = json.dumps({"library": key, "names": names, "s3": s3 and asdict(s3)})
    command = [sys.executable, "-m", "benchmarks.compare", "--job", job]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    try:
        return {name: Answer(*answer) for name, answer in json.loads(done.stdout.splitlines()[-1]).items()}
    except (IndexError, ValueError):
        sys.exit(f"{library.title}: the process ended with {done.returncode}\n{done.stderr}")


def work(job: dict[str, Any]) -> None:
    """Do what `run_library` asks of its process."""
    library, s3 = LIBRARIES[job["library"]], S3(**job["s3"]) if job["s3"] else None
    for module in library.modules:
        import_module(module)
    answers = {name: ask(name, library, s3) for name in job["names"]}
    print("\n" + json.dumps(answers))


def question(name: str) -> str:
    """Return what an experiment asks."""
    return (EXPERIMENTS[name].__doc__ or name).strip().splitlines()[0]


def markdown(results: Results, names: list[str]) -> str:
    """Draw the table, and below it a note for every answer that is neither yes nor a number."""
    libraries = list(results)
    lines = ["| | " + " | ".join(LIBRARIES[library].title for library in libraries) + " |"]
    lines.append("|---|" + "---|" * len(libraries))
    notes: list[str] = []
    for name in names:
        cells = []
        for library in libraries:
            answer = results[library][name]
            if answer.note:
                notes.append(f"{len(notes) + 1}. {LIBRARIES[library].title}, `{name}`: {answer.note}")
            cells.append(f"{answer.value} [{len(notes)}]" if answer.note else answer.value)
        lines.append(f"| {question(name)} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", *notes])


def environment(libraries: list[str]) -> str:
    """Name what the table was measured with."""
    return "; ".join([
        *(versions(LIBRARIES[library]) or f"{library} not installed" for library in libraries),
        *(f"{name} {version(name)}" for name in ("sqlalchemy", "obstore", "aiosqlite")),
        f"Python {platform.python_version()}",
    ])  # fmt: skip


def start_s3(stack: ExitStack) -> S3 | None:
    """Start a server; none if its program is not installed."""
    from tests.servers import seaweedfs
    from tests.servers._process import ServerMissingError

    try:
        server = stack.enter_context(seaweedfs.start())
    except ServerMissingError:
        return None
    return S3(server.endpoint, server.access_key, server.secret_key, server.region, server.make_bucket())


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description="Compare libraries by experiment.")
    parser.add_argument("-k", metavar="WORD", default="", help="only experiments with this in their name")
    parser.add_argument("--library", choices=LIBRARIES, action="append", help="only these libraries")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the answers there, too")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.job:
        work(json.loads(arguments.job))
        return
    names = [name for name in EXPERIMENTS if arguments.k in name]
    libraries = arguments.library or list(LIBRARIES)
    with ExitStack() as stack:
        s3 = start_s3(stack) if "s3_url" in names else None
        results = {library: run_library(library, names, s3) for library in libraries}
    print(markdown(results, names), f"\nMeasured with {environment(libraries)}.", sep="\n")
    if arguments.json:
        answers = {name: {library: results[library][name]._asdict() for library in libraries} for name in names}
        document = {"environment": environment(libraries), "answers": answers}
        arguments.json.write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()
