"""One object has one owner: shared values are copied, moved values move, equal values change nothing."""

from __future__ import annotations

import contextlib
import copy
import io
import threading
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import insert

from filerow import FileObject, FileObjectList
from filerow.exceptions import FileStateError, IntegrityError, ObjectExistsError, ObjectNotFoundError, UnsupportedOperationError
from tests.cases.models import Document, Renamed
from tests.cases.world import World


def test_one_value_on_two_rows_is_two_objects(world: World) -> None:
    first = world.add(file=world.file(b"same"))
    second = world.add(file=first.file)
    assert first.file.path != second.file.path
    assert world.stored(second.file) == b"same"
    world.session.delete(first)
    world.session.commit()
    assert world.stored(second.file) == b"same"


def test_one_value_in_two_columns_is_two_objects(world: World) -> None:
    document = world.add(file=world.file(b"same"))
    document.cover = document.file
    world.session.commit()
    document.file = None
    world.session.commit()
    assert world.stored(document.cover) == b"same"


def test_one_pending_value_on_two_rows_is_two_objects(world: World) -> None:
    file = world.file(b"same")
    rows = [Document(file=file), Document(file=file), Renamed(pages=[file])]
    world.session.add_all(rows)
    world.session.commit()
    assert world.count() == 3
    assert world.docs.puts == 1


def test_pending_value_in_columns_of_two_backends_is_two_objects(world: World) -> None:
    file = world.file(b"same")
    document = world.add(file=file, attachment=file)
    assert world.stored(document.file) == world.stored(document.attachment) == b"same"


def test_a_value_of_another_backend_is_copied_over(world: World) -> None:
    first = world.add(file=world.file(b"same"))
    second = world.add(attachment=first.file)
    assert second.attachment.backend_key == "other"
    assert world.stored(second.attachment) == b"same"


def test_a_value_moved_to_another_backend_leaves_nothing_behind(world: World) -> None:
    document = world.add(file=world.file(b"same"))
    document.attachment, document.file = document.file, None
    world.session.commit()
    assert world.stored(document.attachment) == b"same"
    assert world.count() == 1


def test_a_duplicate_in_one_list_is_two_objects(world: World) -> None:
    file = world.file(b"same")
    document = world.add(pages=[file, file])
    assert world.contents(document.pages) == [b"same", b"same"]
    document.pages.append(document.pages[0])
    world.session.commit()
    world.check()
    del document.pages[0]
    world.session.commit()
    assert world.contents(document.pages) == [b"same", b"same"]


def test_a_copy_that_is_rolled_back_leaves_the_original(world: World) -> None:
    first = world.add(file=world.file(b"same"))
    world.session.add(Document(file=first.file))
    world.session.flush()
    world.session.rollback()
    assert world.count() == 1
    assert world.stored(first.file) == b"same"


def test_a_move_between_rows_in_one_flush_keeps_the_object(world: World) -> None:
    first, second = world.add(file=world.file(b"moved")), world.add()
    path = first.file.path
    first.file, second.file = None, first.file
    world.session.commit()
    assert second.file.path == path
    assert world.stored(second.file) == b"moved"


def test_a_move_between_rows_across_flushes_keeps_the_object(world: World) -> None:
    first, second = world.add(file=world.file(b"moved")), world.add()
    file = first.file
    first.file = None
    world.session.flush()
    second.file = file
    world.session.commit()
    assert second.file.path == file.path


def test_a_move_that_is_rolled_back_leaves_the_file_where_it_was(world: World) -> None:
    first, second = world.add(file=world.file(b"moved")), world.add()
    first.file, second.file = None, first.file
    world.session.flush()
    world.session.rollback()
    assert world.stored(first.file) == b"moved"
    assert second.file is None


def test_two_rows_swap_their_files(world: World) -> None:
    first, second = world.add(file=world.file(b"one")), world.add(file=world.file(b"two"))
    paths = first.file.path, second.file.path
    first.file, second.file = second.file, first.file
    world.session.commit()
    assert (second.file.path, first.file.path) == paths
    assert (world.stored(first.file), world.stored(second.file)) == (b"two", b"one")


def test_files_move_around_a_ring_of_rows_and_lists(world: World) -> None:
    rows = [world.add(file=world.file(b"%d" % i), pages=[world.file()]) for i in range(3)]
    files = [row.file for row in rows]
    for row, file in zip(rows, files[1:] + files[:1], strict=True):
        row.pages = [row.file]
        row.file = file
    world.session.commit()
    world.check()
    assert [world.stored(row.file) for row in rows] == [b"1", b"2", b"0"]
    assert [world.contents(row.pages) for row in rows] == [[b"0"], [b"1"], [b"2"]]


def test_moved_file_survives_when_its_old_row_gets_another_file(world: World) -> None:
    first, second = world.add(file=world.file(b"moved")), world.add()
    first.file, second.file = world.file(b"new"), first.file
    world.session.commit()
    assert (world.stored(first.file), world.stored(second.file)) == (b"new", b"moved")


def test_a_file_whose_object_is_deleted_cannot_come_back(world: World) -> None:
    document = world.add(file=world.file())
    file = document.file
    document.file = None
    world.session.commit()
    document.file = file
    with pytest.raises(ObjectNotFoundError):
        world.session.commit()
    world.session.rollback()


def test_merging_an_equal_value_changes_nothing(world: World) -> None:
    document = world.add(title="a", file=world.file(b"same"), pages=world.files(2))
    key, path, puts = document.id, document.file.path, world.docs.puts
    pages = [page.path for page in document.pages]
    world.session.close()
    detached = document
    merged = world.session.merge(detached)
    merged.title = "b"
    world.session.commit()
    assert merged.id == key
    assert (merged.file.path, [page.path for page in merged.pages]) == (path, pages)
    assert world.docs.puts == puts


def test_merging_a_changed_value_replaces_the_file(world: World) -> None:
    document = world.add(file=world.file(b"old"), pages=world.files(2))
    key = document.id
    world.session.close()
    merged = world.session.merge(Document(id=key, file=world.file(b"new"), pages=[world.file()]))
    world.session.commit()
    assert world.stored(merged.file) == b"new"
    assert world.count() == 2


def test_merging_a_new_row_stores_its_file(world: World) -> None:
    merged = world.session.merge(Document(file=world.file(b"new")))
    world.session.commit()
    assert world.stored(merged.file) == b"new"


def test_assigning_an_equal_value_changes_nothing(world: World) -> None:
    document = world.add(file=world.file(b"same"))
    path, puts = document.file.path, world.docs.puts
    document.file = FileObject.from_dict(document.file.to_dict())
    world.session.commit()
    assert document.file.path == path
    assert (world.docs.puts, world.docs.deletes) == (puts, [])


@pytest.mark.parametrize("make", [copy.copy, copy.deepcopy])
def test_a_python_copy_on_another_row_is_an_object_of_its_own(world: World, make: object) -> None:
    first = world.add(file=world.file(b"same"), pages=world.files(2))
    second = world.add(file=make(first.file), pages=make(first.pages))  # type: ignore[operator]
    assert isinstance(second.pages, FileObjectList)
    world.session.delete(first)
    world.session.commit()
    assert world.stored(second.file) == b"same"
    assert world.count() == 3


def test_a_staged_file_is_adopted_without_a_second_upload(world: World) -> None:
    file = world.file(b"staged", backend="docs")
    file.save()
    path = file.path
    document = world.add(file=file)
    assert document.file.path == path
    assert world.docs.puts == 1
    world.session.delete(document)
    world.session.commit()
    assert world.count() == 0


def test_staged_file_survives_the_rollback_and_is_usable_again(world: World) -> None:
    file = world.file(b"staged", backend="docs")
    file.save()
    world.session.add(Document(file=file))
    world.session.flush()
    world.session.rollback()
    assert world.store.objects() == {("docs", file.path)}
    assert world.stored(world.add(file=file).file) == b"staged"


def test_a_staged_file_on_two_rows_is_two_objects(world: World) -> None:
    file = world.file(b"staged", backend="docs")
    file.save()
    world.session.add_all([Document(file=file), Document(file=file)])
    world.session.commit()
    assert world.count() == 2


def deleted_by_us(world: World, file: FileObject) -> None:
    file.delete()


def deleted_by_a_twin(world: World, file: FileObject) -> None:
    file.replace(metadata={"n": 1}).delete()


def deleted_by_others(world: World, file: FileObject) -> None:
    world.sweep("docs", file.path)


@pytest.mark.parametrize("delete", [deleted_by_us, deleted_by_a_twin, deleted_by_others])
def test_a_staged_file_that_was_deleted_is_not_adopted(world: World, delete: Callable[[World, FileObject], None]) -> None:
    kept, file = world.add(title="kept"), world.file(b"staged", backend="docs").save()
    delete(world, file)
    for change in ({"file": file}, {"pages": [world.file(), file]}):
        world.session.add(Document(**change))
        with pytest.raises((FileStateError, ObjectNotFoundError), match=r"save\(data\)"):
            world.session.commit()
        world.session.rollback()
    kept.file = file
    with pytest.raises((FileStateError, ObjectNotFoundError), match=r"save\(data\)"):
        world.session.commit()
    world.session.rollback()
    with pytest.raises((FileStateError, ObjectNotFoundError), match=r"save\(data\)"):
        world.session.execute(insert(Document), [{"file": file}])
    world.session.rollback()
    assert world.count() == 0
    file.save(b"again")
    assert world.stored(world.add(file=file).file) == b"again"


def test_a_staged_file_deleted_after_it_was_added_makes_no_row(world: World) -> None:
    file = world.file(b"staged", backend="docs").save()
    document = Document(file=file)
    world.session.add(document)
    file.delete()
    with pytest.raises(FileStateError, match="deleted"):
        world.session.commit()
    world.session.rollback()
    document.file = world.file(b"new")
    world.session.add(document)
    world.session.commit()
    assert world.stored(document.file) == b"new"


def test_a_staged_file_whose_object_was_replaced_is_refused(world: World) -> None:
    file = world.file(b"staged", backend="docs", to_filename="reports/2026.png").save()
    world.store.write("docs", "reports/2026.png", b"somebody else's")
    world.session.add(Document(file=file))
    with pytest.raises(IntegrityError, match="6 bytes"):
        world.session.commit()
    world.session.rollback()
    world.docs.delete("reports/2026.png")


def test_a_chosen_path_is_used_and_owned(world: World) -> None:
    document = world.add(file=world.file(b"mine", to_filename="reports/2026.png"))
    assert document.file.path == "reports/2026.png"
    assert world.stored(document.file) == b"mine"
    document.file = None
    world.session.commit()
    assert world.count() == 0


def test_taken_chosen_path_raises_and_leaves_the_object_alone(world: World) -> None:
    first = world.add(file=world.file(b"first", to_filename="reports/2026.png"))
    world.session.add(Document(file=world.file(b"second", to_filename="reports/2026.png"), cover=world.file()))
    with pytest.raises(FileExistsError) as caught:
        world.session.commit()
    assert isinstance(caught.value, ObjectExistsError)
    world.session.rollback()
    world.check()
    assert world.stored(first.file) == b"first"


def test_a_chosen_path_taken_by_a_stranger_is_left_alone(world: World) -> None:
    world.store.write("docs", "reports/old.png", b"stranger")
    world.session.add(Document(file=world.file(b"mine", to_filename="reports/old.png")))
    with pytest.raises((FileExistsError, UnsupportedOperationError)):  # the latter on a store that keeps no path
        world.session.commit()
    world.session.rollback()
    assert world.store.read("docs", "reports/old.png") == b"stranger"
    world.docs.delete("reports/old.png")


def test_a_chosen_path_is_free_again_after_the_rollback(world: World) -> None:
    document = Document(file=world.file(b"mine", to_filename="reports/2026.png"))
    world.session.add(document)
    world.session.flush()
    world.session.rollback()
    assert world.count() == 0
    world.session.add(document)
    world.session.commit()
    assert document.file.path == "reports/2026.png"


def test_a_reference_to_an_existing_object_finds_out_its_facts(world: World) -> None:
    world.store.write("docs", "imported/cat.png", b"existing")
    document = world.add(file=FileObject(backend="docs", filename="cat.png", to_filename="imported/cat.png"))
    assert document.file.size == 8
    assert document.file.checksum is not None
    assert world.docs.puts == 0


def test_a_reference_that_is_rolled_back_leaves_the_object(world: World) -> None:
    world.store.write("docs", "imported/cat.png", b"existing")
    world.session.add(Document(file=FileObject(backend="docs", to_filename="imported/cat.png")))
    world.session.flush()
    world.session.rollback()
    assert world.store.objects() == {("docs", "imported/cat.png")}
    world.add(file=FileObject(to_filename="imported/cat.png"))


def test_a_reference_to_a_missing_object_makes_no_row(world: World) -> None:
    world.session.add(Document(file=FileObject(backend="docs", to_filename="imported/nothing.png")))
    with pytest.raises(FileNotFoundError):
        world.session.commit()
    world.session.rollback()
    assert world.database.rows() == []


@pytest.mark.only("sync", "postgresql")
def test_two_sessions_replacing_one_file_leave_one_object(world: World) -> None:
    key = world.add(file=world.file()).id
    world.session.commit()
    start = threading.Barrier(2)
    errors: list[BaseException] = []

    def replace(content: bytes) -> None:
        try:
            for _ in range(5):
                with world.open() as session:
                    document = session.get_one(Document, key)
                    assert document.file is not None
                    start.wait()
                    document.file = FileObject(filename="cat.png", content=content)
                    session.commit()
        except BaseException as error:  # noqa: BLE001
            errors.append(error)

    threads = [threading.Thread(target=replace, args=(content,)) for content in (b"one", b"two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert world.count() == 1


def test_reference_on_two_rows_is_two_objects_with_all_facts(world: World) -> None:
    world.store.write("docs", "imported/cat.png", b"existing")
    file = FileObject(to_filename="imported/cat.png")
    world.session.add_all([Document(file=file), Document(file=file)])
    world.session.commit()
    assert world.count() == 2


@pytest.mark.parametrize("kind", [bytes, io.BytesIO])
def test_shared_pending_value_is_stored_for_all_after_rollback(world: World, kind: Any) -> None:
    file = world.file(kind(b"one"))
    document = Document(file=file, cover=file, attachment=file, pages=[file, file])
    world.session.add(document)
    world.session.flush()
    world.session.rollback()
    assert world.count() == 0
    world.session.add(document)
    world.session.commit()
    files = [document.file, document.cover, document.attachment, *document.pages]
    assert [world.stored(one) for one in files] == [b"one"] * 5
    assert world.count() == 5


def test_shared_pending_value_is_stored_for_all_after_savepoint(world: World) -> None:
    file = world.file(b"one")
    document = Document(file=file, pages=[file])
    with contextlib.suppress(KeyError), world.session.begin_nested():
        world.session.add(document)
        world.session.flush()
        raise KeyError
    world.session.add(document)
    world.session.commit()
    assert world.stored(document.file) == world.stored(document.pages[0]) == b"one"
