"""Every target with the corpus, and with a fixed set of inputs that Hypothesis makes; with random ones in a soak."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.soak.fuzz.corpus import CORPUS
from tests.soak.fuzz.targets import TARGETS, a_world

TOKENS = [
    b"bytes=",
    b"-",
    b",",
    b'"',
    b"W/",
    b"\\",
    b"/",
    b"../",
    b"%2e",
    b"\r\n",
    b"\0",
    b";",
    b"=",
    b"&",
    b"?",
    b"*",
    b".",
    b"{",
    b"}",
    b"[",
    b'{"v":1,"backend":"docs","path":"',
    b'"size":',
    b'"last_modified":',
    b"1e999",
    b"NaN",
    b"null",
    b"expires=",
    b"signature=",
    b"filename*=",
    b"UTF-8''",
    b"GIF89a",
    b"\x89PNG\r\n\x1a\n",
    b"II*\0",
    b"RIFF",
    b"WEBPVP8X",
    b"\xff\xd8\xff",
    b"ftypavif",
    b"<svg ",
    b"<!DOCTYPE svg [",
    b"GMT",
    b"Mon, 01 Jan 2026 00:00:00 GMT",
    b"\xe2\x80\xae",
    b"\xed\xa0\x80",
    b"\xf0\x9f\x90\x88",
]
"""What the grammars of the targets are made of; pure chance would not find them."""

READS_MUCH = {"document", "images", "ranges", "conditions", "claims", "references"}
"""Targets that may meet long inputs; what the others read is cut by the servers in front of them."""

INPUTS = st.one_of(
    st.binary(max_size=200),
    st.text(max_size=60).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.lists(st.one_of(st.sampled_from(TOKENS), st.binary(max_size=6)), max_size=12).map(b"".join),
    st.tuples(st.sampled_from([one for one in CORPUS if len(one) < 3000]), st.integers(0, 3000), st.binary(max_size=8)).map(
        lambda case: case[0][: case[1]] + case[2] + case[0][case[1] + len(case[2]) :]
    ),
)
CHECKS = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
FIXED = settings(max_examples=60, derandomize=True, database=None, deadline=None, suppress_health_check=CHECKS)
RANDOM = settings(max_examples=100_000, database=None, deadline=None, suppress_health_check=CHECKS)


@pytest.fixture(autouse=True)
def world() -> Iterator[None]:
    with a_world():
        yield


@pytest.mark.parametrize("name", TARGETS)
def test_what_once_was_a_fault_is_none(name: str) -> None:
    for data in CORPUS:
        TARGETS[name](data if name in READS_MUCH else data[:2000])


@pytest.mark.parametrize("name", TARGETS)
def test_no_input_breaks_a_parser(name: str) -> None:
    @FIXED
    @given(INPUTS)
    def run(data: bytes) -> None:
        TARGETS[name](data)

    run()


@pytest.mark.soak
@pytest.mark.parametrize("name", TARGETS)
def test_no_input_that_reaches_new_code_breaks_a_parser(name: str, tmp_path: Path) -> None:
    """Atheris chooses its inputs by the code that they reach, for as many seconds as ``FILEROW_FUZZ_SECONDS`` says."""
    seconds = os.environ.get("FILEROW_FUZZ_SECONDS", "300")
    command = [sys.executable, "-m", "tests.soak.fuzz.run", name, str(tmp_path), seconds]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=int(seconds) + 300)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]


@pytest.mark.soak
@pytest.mark.parametrize("name", TARGETS)
def test_no_random_input_breaks_a_parser(name: str) -> None:
    @RANDOM
    @given(INPUTS)
    def run(data: bytes) -> None:
        TARGETS[name](data)

    run()
