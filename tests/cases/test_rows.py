"""Insert, replace, clear and delete, for every way to map a file."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy.orm import make_transient
from sqlalchemy.orm.exc import StaleDataError

from filerow import FileObject
from filerow.exceptions import ObjectNotFoundError
from tests.cases.models import LISTS, MAPPINGS, Document, Late, Loose, Postponed
from tests.cases.world import World

each_mapping = pytest.mark.parametrize(
    ("model", "attribute", "values"), MAPPINGS.values(), ids=[name.replace(" ", "_") for name in MAPPINGS]
)


@each_mapping
def test_a_row_takes_its_file_from_insert_to_delete(
    world: World, model: type[Any], attribute: str, values: dict[str, Any]
) -> None:
    session = world.session
    row = world.add(model, **values, **{attribute: world.file(b"one")})
    world.check()
    assert world.stored(getattr(row, attribute)) == b"one"

    setattr(row, attribute, world.file(b"two"))  # the attribute is expired and loaded by nobody
    session.commit()
    world.check()
    assert world.stored(getattr(row, attribute)) == b"two"

    setattr(row, attribute, None)
    session.commit()
    world.check()
    assert getattr(row, attribute) is None
    assert world.count() == 0

    setattr(row, attribute, world.file(b"three"))
    session.commit()
    session.delete(row)
    session.commit()
    assert world.count() == 0


@each_mapping
def test_a_rollback_leaves_the_row_and_its_file_as_they_were(
    world: World, model: type[Any], attribute: str, values: dict[str, Any]
) -> None:
    session = world.session
    row = model(**values, **{attribute: world.file(b"one")})
    session.add(row)
    session.flush()
    session.rollback()
    assert world.count() == 0

    session.add(row)
    session.commit()
    for change in (lambda: setattr(row, attribute, world.file(b"two")), lambda: setattr(row, attribute, None)):
        change()
        session.flush()
        session.rollback()
        world.check()
        assert world.stored(getattr(row, attribute)) == b"one"
    session.delete(row)
    session.flush()
    session.rollback()
    assert world.stored(getattr(row, attribute)) == b"one"


@pytest.mark.parametrize(("model", "values"), LISTS.values(), ids=[name.replace(" ", "_") for name in LISTS])
def test_a_list_column_takes_its_files_from_insert_to_delete(world: World, model: type[Any], values: dict[str, Any]) -> None:
    session = world.session
    row = world.add(model, **values, pages=world.files(2))
    world.check()
    row.pages.append(world.file(b"third"))
    session.commit()
    world.check()
    assert world.contents(row.pages)[2] == b"third"
    row.pages = [world.file(b"only")]
    session.commit()
    assert world.count() == 1
    row.pages.append(world.file())
    session.flush()
    session.rollback()
    assert world.contents(row.pages) == [b"only"]
    session.delete(row)
    session.commit()
    assert world.count() == 0


def test_metadata_is_in_the_row_when_commit_returns(world: World) -> None:
    document = world.add(file=world.file(b"hello", metadata={"page": 1}))
    ((_, (row,)),) = world.database.rows()
    assert row["filename"] == "cat.png"
    assert row["size"] == 5
    assert row["metadata"] == {"page": 1}
    assert document.file.to_dict() == row


def test_uploads_are_not_fire_and_forget(world: World) -> None:
    document = world.add(file=world.file(b"hello"))
    assert world.stored(document.file) == b"hello"


def test_the_same_client_filename_twice_never_shares_a_path(world: World) -> None:
    first, second = world.add(file=world.file(b"one")), world.add(file=world.file(b"two"))
    assert first.file.filename == second.file.filename == "cat.png"
    assert (world.stored(first.file), world.stored(second.file)) == (b"one", b"two")


def test_a_replacement_of_the_same_filename_keeps_its_own_bytes(world: World) -> None:
    document = world.add(file=world.file(b"one"))
    document.file = world.file(b"two")
    world.session.commit()
    assert world.stored(document.file) == b"two"
    assert world.count() == 1


def test_replaced_twice_without_a_flush_stores_the_last_only(world: World) -> None:
    document = world.add(file=world.file())
    before = world.docs.puts
    document.file = world.file()
    document.file = world.file(b"last")
    world.session.commit()
    assert world.stored(document.file) == b"last"
    assert world.docs.puts == before + 1


def test_replaced_twice_with_a_flush_between_keeps_the_last(world: World) -> None:
    document = world.add(file=world.file())
    document.file = world.file()
    world.session.flush()
    document.file = world.file(b"last")
    world.session.commit()
    assert world.stored(document.file) == b"last"
    assert world.count() == 1


def test_rollback_of_two_replacements_keeps_the_first_file(world: World) -> None:
    document = world.add(file=world.file(b"first"))
    for _ in range(2):
        document.file = world.file()
        world.session.flush()
    world.session.rollback()
    assert world.stored(document.file) == b"first"


def test_an_attribute_that_was_never_loaded_is_replaced(world: World) -> None:
    key = world.add(Postponed, file=world.file()).id
    world.session.close()
    row = world.session.get_one(Postponed, key)
    row.file = world.file(b"new")
    world.session.commit()
    assert world.stored(row.file) == b"new"
    assert world.count() == 1


def test_a_loaded_value_that_is_stale_by_now_is_replaced(world: World) -> None:
    session = world.open(expire_on_commit=False)
    document = Document(file=world.file())
    session.add(document)
    session.commit()
    other = world.open()
    other.get_one(Document, document.id).file = world.file()
    other.commit()
    document.file = world.file(b"mine")
    session.commit()
    assert world.stored(document.file) == b"mine"


def test_set_to_none_and_back_in_a_transaction_keeps_the_object(world: World) -> None:
    document = world.add(file=world.file(b"kept"))
    file = document.file
    document.file = None
    world.session.flush()
    document.file = file
    world.session.commit()
    assert document.file.path == file.path
    assert world.stored(document.file) == b"kept"


def test_set_to_none_and_back_before_the_flush_changes_nothing(world: World) -> None:
    document = world.add(file=world.file(b"kept"))
    file, puts = document.file, world.docs.puts
    document.file = None
    document.file = file
    world.session.commit()
    assert document.file.path == file.path
    assert world.docs.puts == puts


def test_a_new_metadata_writes_the_row_and_keeps_the_object(world: World) -> None:
    document = world.add(file=world.file(b"kept", metadata={"a": 1}))
    path = document.file.path
    document.file = document.file.replace(metadata={"b": 2}, filename="dog.png")
    world.session.commit()
    ((_, (row,)),) = world.database.rows()
    assert (row["metadata"], row["filename"], row["path"]) == ({"b": 2}, "dog.png", path)


def test_a_row_without_a_file_costs_no_object(world: World) -> None:
    document = world.add()
    assert document.file is None
    assert document.pages == []


def test_made_transient_object_that_takes_over_a_key_has_no_file(world: World) -> None:
    former = world.add(pages=[])
    key, _ = former.id, (former.file, former.pages)  # loaded
    make_transient(former)
    row = world.session.get_one(Document, key)
    row.file, row.pages = world.file(), [world.file()]
    world.session.commit()
    world.session.delete(row)
    world.session.add(former)  # nothing is set in it, so that SQLAlchemy alone would write nothing
    world.session.commit()
    assert former.file is None
    assert former.pages == []
    assert world.count() == 0


def test_row_restored_after_its_committed_deletion_has_no_bytes(world: World) -> None:
    row = world.add(file=world.file())
    old = row.file
    world.session.delete(row)
    world.session.commit()
    make_transient(row)
    row.file = old
    world.session.add(row)
    with pytest.raises(ObjectNotFoundError, match=r"deleted with its row.*Pass the content again"):
        world.session.commit()
    world.session.rollback()
    world.add(file=world.file())


def test_a_file_that_was_cleared_and_committed_has_no_bytes(world: World) -> None:
    row = world.add(pages=world.files(2))
    old = row.pages[0]
    row.pages.remove(old)
    world.session.commit()
    row.pages.append(old)
    with pytest.raises(ObjectNotFoundError, match="its row got another file or none"):
        world.session.commit()
    world.session.rollback()
    assert len(row.pages) == 1


def test_empty_content_is_content(world: World) -> None:
    assert world.stored(world.add(file=world.file(b"")).file) == b""


def test_a_backend_may_be_registered_after_the_mapping(world: World) -> None:
    with pytest.raises(LookupError, match="later"):
        world.add(Late, file=world.file())
    world.session.rollback()
    world.store.register("later")
    assert world.stored(world.add(Late, file=world.file(b"late")).file) == b"late"


def test_a_column_without_lifecycle_deletes_nothing(world: World) -> None:
    row = world.add(Loose, file=world.file())
    path = row.file.path
    row.file = None
    world.session.commit()
    assert world.store.objects() == {("docs", path)}
    world.sweep("docs", path)


def test_column_without_lifecycle_deletes_on_rollback(world: World) -> None:
    world.session.add(Loose(file=world.file()))
    world.session.flush()
    world.session.rollback()
    assert world.count() == 0


def test_five_deleted_rows_are_one_delete_call(world: World) -> None:
    rows = [Document(file=world.file()) for _ in range(5)]
    world.session.add_all(rows)
    world.session.commit()
    for row in rows:
        world.session.delete(row)
    world.session.commit()
    assert len(world.docs.deletes) == 1
    assert world.count() == 0


def test_a_file_that_names_its_column_s_backend_is_accepted(world: World) -> None:
    assert isinstance(world.add(file=world.file(backend="docs")).file, FileObject)


def test_a_row_that_nobody_holds_keeps_its_file(world: World) -> None:
    for number in range(3):
        world.session.add(Document(file=world.file(b"%d" % number), pages=world.files(1)))  # only the session knows it
        world.session.commit()
        world.check()
    assert world.count() == 6


@pytest.mark.parametrize("change", ["file", "list"])
def test_updates_of_rows_of_which_one_is_gone_fail(world: World, change: str) -> None:
    world.session.expire_on_commit = False
    rows = [world.add(file=world.file(b"old"), pages=[world.file(b"page")]) for _ in range(3)]
    for row in rows:
        assert row.pages
    key = rows[1].id
    world.session.commit()
    with world.open() as other:
        other.delete(other.get_one(Document, key))
        other.commit()
    with pytest.raises(StaleDataError):  # asyncpg itself does not say how many rows several UPDATEs have found
        _change_all(world, rows, change)
    world.session.rollback()
    world.check()
    assert world.count() == 4


def _change_all(world: World, rows: list[Document], change: str) -> None:
    for row in rows:
        if change == "file":
            row.file = world.file(b"new")
        else:
            row.pages = [world.file(b"other")]
    world.session.flush()
