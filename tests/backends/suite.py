"""The conformance kit as our own backends are tried with it: on servers that are thrown away, in tiers."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from typing import Any, ClassVar

import pytest

from filerow.testing import Case, Conformance

CORE = {
    "a_copy_never_overwrites",
    "a_missing_bucket_is_an_error_of_the_one_tree",
    "a_missing_object_is_a_file_not_found",
    "a_prefix_is_a_folder",
    "a_race_to_create_has_exactly_one_winner",
    "a_range_past_the_end_is_cut_short",
    "a_small_object_goes_round",
    "a_taken_path_is_refused_and_keeps_its_bytes",
    "capabilities_are_honest_about_signing",
    "deleting_is_idempotent",
    "headers_and_metadata_are_answered_by_a_signed_url",
    "hostile_paths_are_refused",
    "large_iterators_are_content",
    "the_content_type_is_kept_where_promised",
}
"""What every run tries on every backend."""

ALSO = {
    "a_cancelled_upload_leaves_no_unfinished_one",
    "a_failing_source_leaves_the_old_object",
    "a_failing_upload_leaves_no_unfinished_one",
    "a_listing_goes_on_after_any_path",
    "a_put_waiting_for_its_source_can_be_cancelled",
    "a_signed_url_expires",
    "a_signed_url_that_was_changed_is_refused",
    "a_url_signed_to_upload_uploads_and_does_nothing_else",
    "a_url_to_read_answers_with_the_headers_it_was_signed_for",
    "an_empty_object_goes_round",
    "many_puts_at_once_all_succeed",
    "no_metadata_poisons_an_object",
    "unusual_paths_are_kept_as_they_are",
}
"""What every run tries on a cloud of its own besides: where the clouds differ."""

SLOW = {
    "a_cancelled_put_leaves_nothing",
    "a_path_can_be_overwritten_on_request",
    "a_race_of_copies_has_exactly_one_winner",
    "asynchronous_calls_do_not_block_the_event_loop",
    "many_objects_are_deleted_in_one_call",
    "readers_see_whole_objects_while_they_are_replaced",
    "the_callers_own_exception_comes_back_and_nothing_stays",
    "uploads_fed_by_downloads_do_not_wait_for_each_other",
}
"""What takes seconds on an emulator, and tries code that the same backend also runs on a quicker server."""


RACES = {"a_race_to_create_has_exactly_one_winner", "a_race_of_copies_has_exactly_one_winner"}
"""Many writers at once, which take SeaweedFS seconds; the races of commits are in every run."""


class Suite(Conformance):
    """A backend of ours.

    Attributes:
        every_run: The cases that every run tries; all but the large ones when left out.
        later: The cases that only a thorough run tries.
        request: Pytest's, for the fixtures of servers.
    """

    large = True
    cleans = False
    every_run: ClassVar[AbstractSet[str] | None] = None
    later: ClassVar[AbstractSet[str]] = frozenset()
    request: pytest.FixtureRequest

    @pytest.fixture(autouse=True)
    def _asked(self, request: pytest.FixtureRequest) -> None:
        self.request = request

    @classmethod
    def is_in_every_run(cls, case: Case) -> bool:
        """Return True if ``make test`` tries a case."""
        return not case.large and case.name not in cls.later and (cls.every_run is None or case.name in cls.every_run)

    def fixture(self, name: str) -> Any:
        """Return the value of a fixture."""
        return self.request.getfixturevalue(name)
