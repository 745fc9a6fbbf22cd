"""``filerow conformance`` as a process: on a directory, on an S3 server, on a backend of one's own, interrupted."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from filerow.testing.cases import CASES
from tests.backends.stores import bucket_of
from tests.cli.conftest import PROGRAM, environment, run_alone

if TYPE_CHECKING:
    from tests.servers.nginx import Nginx

FEW = [
    "--case=a_small_object_goes_round",
    "--case=a_missing_bucket_is_an_error_of_the_one_tree",
    "--case=a_race_to_create_has_exactly_one_winner",
    "--case=a_signed_url_that_was_changed_is_refused",
    "--case=an_upload_is_no_longer_than_was_signed",
]

ASYNC = "a_cancelled_put_leaves_nothing"


def s3_arguments(server: Any, bucket: str) -> list[str]:
    found = {
        "aws_endpoint": server.endpoint,
        "aws_access_key_id": server.access_key,
        "aws_secret_access_key": server.secret_key,
        "aws_region": server.region,
    }
    return [f"--backend=s3://{bucket}/live", *(f"--option={name}={value}" for name, value in found.items())]


def test_a_directory_passes_and_nothing_is_left_in_it(tmp_path: Path) -> None:
    done = run_alone("conformance", f"--backend=file://{tmp_path}/root", "--sync-only", folder=tmp_path)
    assert done.code == 0, done.out
    assert "0 failed" in done.out
    assert "does not apply: sign_get: " in done.out
    assert " async " not in done.out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.thorough
@pytest.mark.servers
def test_a_live_bucket_passes_and_nothing_is_left_in_it(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    server, bucket = bucket_of(request, "s3_server")
    before = server.keys(bucket)
    done = run_alone("conformance", *s3_arguments(server, bucket), *FEW, "--json", "--sync-only", folder=tmp_path)
    assert done.code == 0, done.out
    outcomes = {line["case"]: line["outcome"] for line in done.of("case")}
    assert len(outcomes) == len(FEW)
    assert outcomes["an_upload_is_no_longer_than_was_signed"] == "does not apply"
    assert outcomes["a_missing_bucket_is_an_error_of_the_one_tree"] == "passed"
    (summary,) = done.of("summary")
    assert (summary["passed"], summary["failed"], summary["does_not_apply"]) == (len(FEW) - 1, 0, 1)
    assert server.keys(bucket) == before
    assert server.secret_key not in done.out + done.err


@pytest.mark.thorough
@pytest.mark.servers
def test_signed_urls_are_tried_by_the_public_host(request: pytest.FixtureRequest, tmp_path: Path, public_host: Nginx) -> None:
    server, bucket = bucket_of(request, "s3_server")
    cases = ("a_signed_url_is_for_one_path", "an_upload_is_of_the_type_that_was_signed")
    before = len(public_host.requests())
    outside = f"--option=public_endpoint={public_host.endpoint}"
    chosen = [f"--case={case}" for case in cases]
    done = run_alone("conformance", *s3_arguments(server, bucket), outside, *chosen, "--json", "--sync-only", folder=tmp_path)
    assert done.code == 0, done.out
    assert {line["case"]: line["outcome"] for line in done.of("case")} == dict.fromkeys(cases, "passed")
    assert len(public_host.requests()) > before
    assert {one.status for one in public_host.requests()[before:]} >= {200, 403}


@pytest.mark.thorough
def test_every_case_passes_on_a_live_bucket(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    server, bucket = bucket_of(request, "s3_server")
    before = server.keys(bucket)
    done = run_alone("conformance", *s3_arguments(server, bucket), "--json", "--async-only", folder=tmp_path)
    assert done.code == 0, json.dumps([line for line in done.of("case") if line["outcome"] == "failed"], indent=1)
    assert len(done.of("case")) == len(CASES)
    assert server.keys(bucket) == before


def test_own_backend_is_named_by_its_key_and_fails_by_name(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from filerow import storages\n"
        "from filerow.backends.memory import MemoryBackend\n\n\n"
        "class Mine(MemoryBackend):\n"
        "    def _delete(self, paths):\n"
        "        failed = {path: FileNotFoundError(path) for path in paths if path not in self._objects}\n"
        "        super()._delete(paths)\n"
        "        return failed\n\n\n"
        "def register():\n"
        '    storages.register_backend(Mine("mine"))\n'
    )
    chosen = ["--case=deleting_is_idempotent", "--case=ranges_are_slices"]
    done = run_alone("conformance", "--backend=mine", "--setup=mine:register", "--sync-only", *chosen, folder=tmp_path)
    assert done.code == 1, done.err
    assert "deleting_is_idempotent" in done.out
    assert "the failures when some are missing: expected {}, got {" in done.out
    assert "1 passed, 1 failed" in done.out


@pytest.mark.thorough
def test_ctrl_c_removes_what_was_made(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    command = [PROGRAM, "conformance", f"--backend=file://{root}"]
    process = subprocess.Popen(
        command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path
    )
    assert process.stdout is not None
    for _ in range(6):
        process.stdout.readline()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Stopping at the next safe point" in err
    assert len(out.splitlines()) < len(CASES)
    assert list(root.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--backend=nothing"], "no backend is registered as 'nothing'"),
        (["--backend=memory://", "--case=nothing"], "no case or side called nothing"),
        (["--backend=memory://", "--sync-only", f"--case={ASYNC}"], f"asked for the sync side, which {ASYNC} has not"),
        (["--backend=memory://", "--option=x"], "--option must be NAME=VALUE"),
        (["--backend=memory://", "--setup=nowhere:make"], "--setup nowhere:make failed: ModuleNotFoundError"),
        (["--backend=memory://", "--sync-only", "--async-only"], "leave nothing to test"),
    ],
)
def test_what_cannot_run_is_said(arguments: list[str], said: str, capfd: pytest.CaptureFixture[str]) -> None:
    from tests.cli.conftest import run

    done = run("conformance", *arguments)
    assert done.code == 2
    assert said in " ".join((done.err + done.out + "".join(capfd.readouterr())).split())


def test_large_case_that_was_not_requested_is_reported() -> None:
    from tests.cli.conftest import run

    done = run("conformance", "--backend=memory://", "--sync-only", "--case=bytes_of_100_mb_go_round")
    assert done.code == 0
    assert "does not apply: large cases were not asked for: bytes_of_100_mb_go_round" in done.out


def test_json_lines_are_whole(tmp_path: Path) -> None:
    from tests.cli.conftest import run

    done = run("conformance", "--backend=memory://", "--case=ranges_are_slices", "--json")
    lines = [json.loads(line) for line in done.out.splitlines()]
    assert [line["type"] for line in lines] == ["case", "case", "summary"]
    assert lines[0] | {"seconds": 0} == {
        "type": "case",
        "case": "ranges_are_slices",
        "theme": "ranges",
        "side": "sync",
        "outcome": "passed",
        "seconds": 0,
        "message": "",
    }
