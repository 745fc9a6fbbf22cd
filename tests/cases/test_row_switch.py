"""A new row in the place of one that the same flush deletes, which SQLAlchemy makes one UPDATE."""

from __future__ import annotations

import pytest

from tests.cases.models import Account, Portrait
from tests.cases.world import World


def account(world: World) -> Account:
    one = Account(portrait=Portrait(file=world.file(b"old"), back="ink"))
    world.session.add(one)
    world.session.commit()
    return one


def test_portrait_replaced_through_the_relationship(world: World) -> None:
    one = account(world)
    one.portrait = Portrait(file=world.file(b"new"))
    world.session.commit()
    assert world.stored(one.portrait.file) == b"new"
    assert world.count() == 1


def test_portrait_replaced_by_one_without_a_file(world: World) -> None:
    one = account(world)
    one.portrait = Portrait()
    world.session.commit()
    assert one.portrait.file is None
    assert world.count() == 0


def test_portrait_replaced_by_one_with_the_same_file(world: World) -> None:
    one = account(world)
    one.portrait = Portrait(file=one.portrait.file)
    world.session.commit()
    assert world.stored(one.portrait.file) == b"old"
    assert world.count() == 1


def test_portrait_replaced_and_rolled_back(world: World) -> None:
    one = account(world)
    one.portrait = Portrait(file=world.file(b"new"))
    world.session.flush()
    world.session.rollback()
    assert world.stored(one.portrait.file) == b"old"
    assert world.count() == 1


def test_portrait_replaced_twice_in_one_transaction(world: World) -> None:
    one = account(world)
    for content in (b"second", b"third"):
        one.portrait = Portrait(file=world.file(content))
        world.session.flush()
    world.session.commit()
    assert world.stored(one.portrait.file) == b"third"
    assert world.count() == 1


def test_many_portraits_replaced_in_one_flush(world: World) -> None:
    many = [account(world) for _ in range(3)]
    for number, one in enumerate(many):
        one.portrait = Portrait(file=world.file(b"%d" % number))
    world.session.commit()
    assert [world.stored(one.portrait.file) for one in many] == [b"0", b"1", b"2"]
    assert world.count() == 3


def test_portrait_removed_is_deleted(world: World) -> None:
    one = account(world)
    one.portrait = None
    world.session.commit()
    assert world.count() == 0


@pytest.mark.parametrize("loaded", [True, False])
def test_portrait_replaced_when_the_old_one_is_expired(world: World, *, loaded: bool) -> None:
    one = account(world)
    old = one.portrait
    if not loaded:
        world.session.expire(old)
    one.portrait = Portrait(file=world.file(b"new"))
    world.session.commit()
    assert world.count() == 1
