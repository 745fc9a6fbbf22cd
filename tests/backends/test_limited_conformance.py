"""The conformance kit on S3-compatible stores with limits: it names what each cannot do, and everything else passes."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from filerow import StorageBackend
from filerow.backends.obstore import ObstoreBackend
from filerow.testing import Harness, Outcome, run
from tests.backends.stores import s3_options
from tests.servers._s3 import S3Server
from tests.servers.limited_s3 import LIMITED, LimitedS3

pytestmark = pytest.mark.servers

KEEP_PATHS = {
    "a_copy_never_overwrites",
    "a_race_of_copies_has_exactly_one_winner",
    "a_race_to_create_has_exactly_one_winner",
    "a_taken_path_is_refused_and_keeps_its_bytes",
}
QUICK = [*KEEP_PATHS, "a_missing_object_is_a_file_not_found", "a_small_object_goes_round", "deleting_is_idempotent"]
THOROUGH = pytest.param([], marks=pytest.mark.thorough)


class On(Harness):
    cleans = False

    def __init__(self, limited: LimitedS3, **options: Any) -> None:
        server = limited.server
        self._url = f"s3://{server.shared_bucket}/{uuid.uuid4().hex}"
        self._options = {**s3_options(server), **options}

    def make(self) -> StorageBackend:
        return ObstoreBackend("docs", self._url, **self._options)


@pytest.fixture
def limited(request: pytest.FixtureRequest, s3_server: S3Server) -> Iterator[LimitedS3]:
    with LimitedS3(s3_server, LIMITED[request.param]) as store:
        yield store


def named(limited: LimitedS3, cases: list[str], **options: Any) -> dict[str, str]:
    """Return the cases that do not apply, with the reason; all others pass."""
    results = list(run(On(limited, **options), cases=cases, sides=["sync"] if cases else ["sync", "async"]))
    assert [result for result in results if result.outcome is Outcome.FAILED] == []
    return {result.case: result.message for result in results if result.outcome is Outcome.DOES_NOT_APPLY}


@pytest.mark.parametrize("cases", [QUICK, THOROUGH], ids=["quick", "all"])
@pytest.mark.parametrize("limited", ["ignores-conditions", "answers-501", "answers-400"], indirect=True)
def test_the_kit_names_paths_that_nothing_keeps(limited: LimitedS3, cases: list[str]) -> None:
    found = named(limited, cases)
    assert {case for case, reason in found.items() if "second writer" in reason} >= KEEP_PATHS


@pytest.mark.parametrize("limited", ["answers-501"], indirect=True)
def test_a_backend_that_looks_is_tried_without_races(limited: LimitedS3) -> None:
    found = named(limited, QUICK, aws_conditional_put="disabled")
    assert found == {case: "exclusive" for case in KEEP_PATHS if "race" in case}


@pytest.mark.thorough
@pytest.mark.parametrize("cases", [[]], ids=["all"])
@pytest.mark.parametrize(
    "limited", ["ignores-on-copies", "ignores-on-uploads", "no-bulk-delete", "no-bulk-delete-501"], indirect=True
)
def test_what_can_be_done_in_another_way_passes(limited: LimitedS3, cases: list[str]) -> None:
    assert not set(QUICK) & set(named(limited, cases))


@pytest.mark.parametrize("cases", [[case for case in QUICK if "race" not in case], THOROUGH], ids=["quick", "all"])
@pytest.mark.parametrize("limited", ["no-listing"], indirect=True)
def test_the_kit_names_credentials_that_may_not_list(limited: LimitedS3, cases: list[str]) -> None:
    found = named(limited, cases)
    assert "may not list" in found["a_missing_object_is_a_file_not_found"]
    assert "a_small_object_goes_round" in found
