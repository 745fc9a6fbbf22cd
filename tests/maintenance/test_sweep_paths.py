"""A sweep touches only what our generator can have made, so it must know such a path, and its time, exactly."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filerow._paths import folders_of, generate_path, generated_at, path_before
from filerow.backends._foreign import staging_path

TOKEN = "019b0000beef7abc8def0123456789ab"


@given(st.text(), st.text(), st.text(), st.integers(0, 300))
def test_generated_path_is_recognized_with_its_time(table: str, column: str, filename: str, shards: int) -> None:
    before = time.time()
    path = generate_path(table, column, filename, shards=shards)
    moment = generated_at(path, table, column, shards)
    assert moment is not None
    assert before - 0.002 <= moment <= time.time()
    assert path.rpartition("/")[0] in folders_of(table, column, shards)


@pytest.mark.parametrize("shards", [0, 16])
def test_temporary_object_of_an_upload_is_known_like_its_target(shards: int) -> None:
    for _ in range(40):
        path = generate_path("document", "file", "cat.png", shards=shards)
        assert generated_at(staging_path(path), "document", "file", shards) is not None


@pytest.mark.parametrize(
    "path",
    [
        f"document/file/{TOKEN}",
        f"document/file/{TOKEN}.png",
        f"document/file/{TOKEN}.tar7",
    ],
)
def test_a_path_of_ours(path: str) -> None:
    assert generated_at(path, "document", "file") == 0x019B0000BEEF / 1000


@pytest.mark.parametrize(
    "path",
    [
        f"{TOKEN}.png",
        f"document2/file/{TOKEN}.png",
        f"document/file2/{TOKEN}.png",
        f"x/document/file/{TOKEN}.png",
        f"document/file/x/{TOKEN}.png",
        f"document/file//{TOKEN}.png",
        f"document/file/{TOKEN.upper()}.png",
        f"document/file/{TOKEN}.PNG",
        f"document/file/{TOKEN}.tar.gz",
        f"document/file/{TOKEN}.png\n",
        f"document/file/{TOKEN}.elevenchars",
        f"document/file/{TOKEN}-thumbnail.png",
        f"document/file/{TOKEN}0.png",
        f"document/file/0{TOKEN[1:]}x.png",
        "document/file/019b0000beef4abc8def0123456789ab.png",  # a random UUID, as others name their files
        "document/file/019b0000beef7abc7def0123456789ab.png",  # no variant of RFC 9562
        "document/file/019b0000-beef-7abc-8def-0123456789ab.png",
    ],
)
def test_a_path_that_we_cannot_have_made(path: str) -> None:
    assert generated_at(path, "document", "file") is None


def test_a_sharded_path_lies_in_the_folder_of_its_own_shard() -> None:
    assert generated_at(f"document/file/b/{TOKEN}.png", "document", "file", 16) is not None
    assert generated_at(f"document/file/a/{TOKEN}.png", "document", "file", 16) is None
    assert generated_at(f"document/file/{TOKEN}.png", "document", "file", 16) is None
    assert generated_at(f"document/file/b/{TOKEN}.png", "document", "file") is None


def test_listing_from_a_moment_on_misses_nothing_of_it() -> None:
    earlier, now = f"{0x019B0000BEEE:012x}7fffbfffffffffffffff", f"{0x019B0000BEEF:012x}70008000000000000000"
    marker = path_before("document/file", 0x019B0000BEEF / 1000)
    assert f"document/file/{earlier}" < marker < f"document/file/{now}"
