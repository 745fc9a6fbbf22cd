"""Rows, objects and a dictionary stay equal, whatever an application does in whatever order.

A failure prints the steps that led to it, and in a long walk also the line that repeats it.
"""

from __future__ import annotations

import logging
import os
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.cases.world import World
from tests.soak.walks.lists import lists_in
from tests.soak.walks.walk import disturbed_in, walk_in

SOAK_STEPS = int(os.environ.get("FILEROW_SOAK_STEPS", "10000"))
"""The least number of steps of each combination that had something to do."""

COMMON: dict[str, Any] = {
    "database": None,
    "deadline": None,
    "suppress_health_check": list(HealthCheck),
}
SHORT = settings(max_examples=6, derandomize=True, phases=[Phase.generate], stateful_step_count=40, **COMMON)
LONG = settings(max_examples=20, phases=[Phase.generate], print_blob=True, stateful_step_count=100, **COMMON)


@pytest.mark.one_in(3)
def test_short_walk_keeps_rows_and_objects_like_a_dictionary(world: World) -> None:
    counts: Counter[str] = Counter()
    run_state_machine_as_test(walk_in(world, counts), settings=SHORT)
    assert counts["commit"], "a walk that commits nothing compares nothing"


def test_a_short_walk_over_shards(sharded_world: World) -> None:
    counts: Counter[str] = Counter()
    run_state_machine_as_test(walk_in(sharded_world, counts), settings=SHORT)
    assert counts["commit"], "a walk that commits nothing compares nothing"


@pytest.mark.one_in(4)
def test_a_short_walk_of_sessions_that_edit_the_same_lists(world: World) -> None:
    counts: Counter[str] = Counter()
    run_state_machine_as_test(lists_in(world, counts), settings=SHORT)
    assert counts["commit"], "a walk that commits nothing compares nothing"


@pytest.mark.one_in(4)
def test_a_short_walk_with_hostile_listeners(world: World) -> None:
    counts: Counter[str] = Counter()
    run_state_machine_as_test(disturbed_in(world, counts), settings=SHORT)
    assert any(rule.startswith("before_flush") for rule in counts), "a walk that nobody disturbs shows nothing"


@pytest.mark.soak
def test_a_long_walk_with_hostile_listeners(world: World, record_property: Any) -> None:
    walk_long(disturbed_in, world, record_property)


@pytest.mark.soak
def test_a_long_walk_over_shards(sharded_world: World, record_property: Any) -> None:
    walk_long(walk_in, sharded_world, record_property)


@pytest.mark.soak
def test_a_long_walk_of_sessions_that_edit_the_same_lists(world: World, record_property: Any) -> None:
    walk_long(lists_in, world, record_property)


@pytest.mark.soak
def test_long_walk_keeps_rows_and_objects_like_a_dictionary(world: World, record_property: Any) -> None:
    walk_long(walk_in, world, record_property)


def walk_long(made_in: Callable[[World, Counter[str]], Any], world: World, record_property: Any) -> None:
    """Walk until enough steps had something to do."""
    counts: Counter[str] = Counter()
    start = int(os.environ.get("FILEROW_SOAK_SEED", random.randrange(1_000_000_000)))
    for number in range(start, start + 10_000):
        walk = made_in(world, counts)
        seed(number)(walk)  # FILEROW_SOAK_SEED=<number> begins there again
        logging.getLogger(__name__).warning("FILEROW_SOAK_SEED=%s", number)  # pytest shows it when a walk fails
        try:
            run_state_machine_as_test(walk, settings=LONG)
        except BaseException as error:
            error.add_note(f"steps so far: {counts.total() - counts['nothing to do']}")
            raise
        if counts.total() - counts["nothing to do"] >= SOAK_STEPS:
            break
    for rule, count in counts.items():
        record_property("steps", (rule, count))
