"""Triggers, rules and policies of the application that keep what a flush was to delete or replace."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Connection, delete, event, inspect, select, text, update
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from filerow import FileObject, FileObjectList, StoredObject
from filerow.exceptions import UnsupportedRouteError
from tests.cases.models import Composite, Document, Folder, Letter, Sheet
from tests.cases.triggers import ddl, trigger
from tests.cases.world import World


class Views(DeclarativeBase):
    """The views of an application, of whose tables it says nothing."""


class Shown(Views):
    __tablename__ = "shown"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str | None]
    file: Mapped[FileObject | None] = mapped_column(StoredObject("docs"))
    pages: Mapped[FileObjectList] = mapped_column(StoredObject("docs", multiple=True))


KEPT_ROWS: dict[str, dict[str, str]] = {
    "skips": {"when": "BEFORE DELETE", "sqlite": "SELECT RAISE(IGNORE)", "postgresql": "RETURN NULL;"},
    "marks": {
        "when": "BEFORE DELETE",
        "sqlite": "UPDATE document SET title = 'deleted' WHERE id = OLD.id; SELECT RAISE(IGNORE)",
        "postgresql": "UPDATE document SET title = 'deleted' WHERE id = OLD.id; RETURN NULL;",
    },
    "inserts_again": {
        "when": "AFTER DELETE",
        "sqlite": "INSERT INTO document (id, title, file, pages) VALUES (OLD.id, OLD.title, OLD.file, OLD.pages)",
        "postgresql": "INSERT INTO document SELECT OLD.*; RETURN OLD;",
    },
}
"""What applications do when a row is deleted, so that it is not."""

PUT_BACK = {
    "when": "AFTER UPDATE OF file, pages",
    "sqlite": "UPDATE document SET file = OLD.file, pages = OLD.pages WHERE id = OLD.id",
    "postgresql": "UPDATE document SET file = OLD.file, pages = OLD.pages WHERE id = OLD.id; RETURN NULL;",
    "condition": "OLD.title = 'frozen'",
}
"""A trigger that freezes the files of a row. The one on PostgreSQL must not run for its own UPDATE."""


def frozen(world: World) -> Any:
    given = dict(PUT_BACK)
    if world.database.name == "postgresql":
        given["when"] = "BEFORE UPDATE"
        given["postgresql"] = "NEW.file := OLD.file; NEW.pages := OLD.pages; RETURN NEW;"
    return trigger(world, **given)


kept_row = pytest.mark.parametrize("kept", KEPT_ROWS.values(), ids=KEPT_ROWS)


@kept_row
def test_row_that_a_trigger_keeps_keeps_its_files(world: World, kept: dict[str, str]) -> None:
    row = world.add(file=world.file(b"kept"), pages=world.files(2))
    with trigger(world, **kept):
        world.session.delete(row)
        world.session.flush()
    world.session.commit()
    assert world.stored(world.session.scalars(select(Document)).one().file) == b"kept"


@kept_row
def test_some_of_many_deleted_rows_are_kept_by_a_trigger(world: World, kept: dict[str, str]) -> None:
    rows = [Document(title=title, file=world.file(), pages=world.files(1)) for title in "abcd"]
    world.session.add_all(rows)
    world.session.commit()
    with trigger(world, **kept, condition="OLD.title IN ('b', 'c')"):
        for row in rows:
            world.session.delete(row)
        world.session.flush()
    world.session.commit()
    assert world.count() == 4


def test_row_kept_without_one_file_loses_that_file_only(world: World) -> None:
    row = world.add(file=world.file(), cover=world.file(b"cover"))
    update = "UPDATE document SET file = NULL WHERE id = OLD.id;"
    kept = {"sqlite": f"{update} SELECT RAISE(IGNORE)", "postgresql": f"{update} RETURN NULL;"}
    with trigger(world, "BEFORE DELETE", **kept):
        world.session.delete(row)
        world.session.flush()
    world.session.commit()
    assert world.stored(world.session.scalars(select(Document)).one().cover) == b"cover"
    assert world.count() == 1


@pytest.mark.only("postgresql")
@pytest.mark.parametrize("instead", ["NOTHING", "UPDATE document SET title = 'deleted' WHERE id = OLD.id"])
def test_a_row_that_a_rule_keeps_keeps_its_file(world: World, instead: str) -> None:
    row = world.add(file=world.file(b"kept"))
    with ddl(world, [f"CREATE RULE kept AS ON DELETE TO document DO INSTEAD {instead}"], ["DROP RULE kept ON document"]):
        world.session.delete(row)
        world.session.flush()
    world.session.commit()
    assert world.stored(world.session.scalars(select(Document)).one().file) == b"kept"
    # A prepared DELETE that a rule has emptied stays empty when the rule is gone: PostgreSQL does not plan it again.
    world.session.connection().invalidate()


def test_an_orphan_that_a_trigger_keeps_keeps_its_file(world: World) -> None:
    folder = Folder(sheets=[Sheet(file=world.file(b"kept")), Sheet(file=world.file())])
    world.session.add(folder)
    world.session.commit()
    on = "BEFORE DELETE ON sheet"
    made = [f"CREATE TRIGGER kept {on} BEGIN SELECT RAISE(IGNORE); END"]
    dropped = ["DROP TRIGGER kept"]
    if world.database.name == "postgresql":
        made = [
            "CREATE FUNCTION kept() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
            f"CREATE TRIGGER kept {on} FOR EACH ROW EXECUTE FUNCTION kept()",
        ]
        dropped = ["DROP TRIGGER kept ON sheet", "DROP FUNCTION kept()"]
    with ddl(world, made, dropped):
        del folder.sheets[0]
        world.session.flush()
    world.session.commit()
    assert world.count() == 2


def test_kept_row_can_be_deleted_later_in_the_transaction(world: World) -> None:
    row = world.add(file=world.file())
    with trigger(world, **KEPT_ROWS["skips"]):
        world.session.delete(row)
        world.session.flush()
    world.session.delete(world.session.scalars(select(Document)).one())
    world.session.commit()
    assert world.count() == 0


def test_a_kept_row_in_a_savepoint_keeps_its_file(world: World) -> None:
    row = world.add(file=world.file(b"kept"))
    with trigger(world, **KEPT_ROWS["skips"]), world.session.begin_nested():
        world.session.delete(row)
    world.session.commit()
    assert world.stored(world.session.scalars(select(Document)).one().file) == b"kept"


def test_put_back_document_keeps_its_object(world: World) -> None:
    row = world.add(title="frozen", file=world.file(b"old"), pages=world.files(1))
    new = world.file(b"new")
    with frozen(world):
        row.pages.append(world.file())
        row.file = new
        world.session.flush()
    world.session.commit()
    assert world.stored(row.file) == b"old"
    assert len(row.pages) == 1
    assert new.has_pending_data, "its bytes are not stored, so it may be tried again"
    assert world.count() == 2


def test_put_back_document_is_what_the_attribute_holds(world: World) -> None:
    session = world.session = world.open(expire_on_commit=False)
    row = world.add(title="frozen", file=world.file(b"old"), pages=world.files(1))
    with frozen(world):
        row.file, row.pages = world.file(b"new"), []
        session.flush()
    session.commit()
    assert not inspect(row).expired
    assert world.stored(row.file) == b"old"
    assert len(row.pages) == 1


def test_document_that_cannot_be_cleared_keeps_its_object(world: World) -> None:
    row = world.add(title="frozen", file=world.file(b"old"))
    with frozen(world):
        row.file = None
        world.session.flush()
    world.session.commit()
    assert world.stored(row.file) == b"old"


def test_some_of_many_replaced_files_are_put_back(world: World) -> None:
    rows = [world.add(title=title, file=world.file()) for title in ("frozen", "free", "frozen")]
    with frozen(world):
        for row in rows:
            row.file = world.file(b"new")
        world.session.flush()
    world.session.commit()
    assert [world.stored(row.file) == b"new" for row in rows] == [False, True, False]
    assert world.count() == 3


def test_file_that_moves_from_a_frozen_row_is_refused(world: World) -> None:
    row, other = world.add(title="frozen", file=world.file(b"old")), world.add()
    other.file, row.file = row.file, None
    with pytest.raises(UnsupportedRouteError, match=r"document\.file: .* still names it"), frozen(world):
        world.session.flush()
    world.session.rollback()  # of the trigger, too
    assert world.stored(row.file) == b"old"
    assert other.file is None


# -- documents that the database copies elsewhere --------------------------------------------------------------------------

ARCHIVED = {
    "sqlite": "INSERT INTO letter (scan) VALUES (OLD.file); INSERT INTO composite VALUES ('old', OLD.id, NULL, OLD.pages)",
    "postgresql": (
        "INSERT INTO letter (scan) VALUES (OLD.file); INSERT INTO composite VALUES ('old', OLD.id, NULL, OLD.pages); "
        "RETURN coalesce(NEW, OLD);"
    ),
}
"""A trigger that keeps what a row held in the rows of other tables."""


def delete_row(world: World, row: Document) -> None:
    world.session.delete(row)
    world.session.flush()


def replace_files(world: World, row: Document) -> None:
    row.file = world.file(b"new")
    row.pages = FileObjectList(world.files(1))
    world.session.flush()


def delete_in_bulk(world: World, row: Document) -> None:
    world.session.execute(delete(Document).where(Document.id == row.id))


def clear_in_bulk(world: World, row: Document) -> None:
    world.session.execute(update(Document).where(Document.id == row.id).values(file=None, pages=[]))


ARCHIVING = {
    "a deleted row": ("BEFORE DELETE", delete_row),
    "a row deleted in bulk": ("BEFORE DELETE", delete_in_bulk),
    "replaced files": ("BEFORE UPDATE", replace_files),
    "files cleared in bulk": ("BEFORE UPDATE", clear_in_bulk),
}


@pytest.mark.parametrize(("when", "change"), ARCHIVING.values(), ids=[name.replace(" ", "_") for name in ARCHIVING])
def test_archived_document_keeps_its_object(world: World, when: str, change: Callable[[World, Document], None]) -> None:
    row = world.add(file=world.file(b"old"), pages=world.files(2))
    with trigger(world, when, **ARCHIVED):
        change(world, row)
    world.session.commit()
    [archived] = world.session.scalars(select(Letter)).all()
    assert world.stored(archived.scan) == b"old"
    world.check()

    for letter in world.session.scalars(select(Letter)):  # the archive's row owns it now
        world.session.delete(letter)
    world.session.execute(delete(Composite))
    world.session.execute(delete(Document))
    world.session.commit()
    assert world.count() == 0


def test_an_archive_that_is_rolled_back_gives_the_object_back(world: World) -> None:
    row = world.add(file=world.file(b"old"), pages=world.files(1))
    with trigger(world, "BEFORE DELETE", **ARCHIVED):
        savepoint = world.session.begin_nested()
        delete_row(world, row)
        savepoint.rollback()
    world.session.commit()
    assert world.stored(row.file) == b"old"
    delete_row(world, row)
    world.session.commit()
    assert world.count() == 0


def test_triggers_that_copy_nothing_keep_nothing(world: World) -> None:
    row = world.add(file=world.file(), pages=world.files(1))
    statement = "INSERT INTO letter (scan) VALUES (NULL)"
    with trigger(world, "AFTER DELETE", sqlite=statement, postgresql=f"{statement}; RETURN NULL;"):
        delete_row(world, row)
    world.session.commit()
    assert world.count() == 0


def test_a_temporary_trigger_that_archives_keeps_the_object(world: World) -> None:
    if world.database.name != "sqlite":
        pytest.skip("only SQLite has them")
    row = world.add(file=world.file(b"old"))
    made = ["CREATE TEMP TRIGGER application BEFORE DELETE ON document BEGIN INSERT INTO letter (scan) VALUES (OLD.file); END"]
    with ddl(world, made, ["DROP TRIGGER application"]):
        delete_row(world, row)
    world.session.commit()
    [archived] = world.session.scalars(select(Letter)).all()
    assert world.stored(archived.scan) == b"old"


def test_a_row_that_a_listener_puts_back_keeps_its_file(world: World) -> None:
    rows = [world.add(file=world.file(content)) for content in (b"kept", b"gone")]
    keep = rows[0].id
    held: dict[str, Any] = {}

    def before_delete(mapper: object, connection: Connection, target: Document) -> None:
        if target.id == keep:
            query = text("SELECT CAST(file AS text) AS file, CAST(pages AS text) AS pages, id FROM document WHERE id = :id")
            held.update(connection.execute(query, {"id": keep}).mappings().one())

    def after_delete(mapper: object, connection: Connection, target: Document) -> None:
        if target.id == keep:
            as_json = "CAST({} AS json)" if connection.dialect.name == "postgresql" else "{}"
            values = ", ".join([":id", as_json.format(":file"), as_json.format(":pages")])
            connection.execute(text(f"INSERT INTO document (id, file, pages) VALUES ({values})"), held)

    event.listen(Document, "before_delete", before_delete)
    event.listen(Document, "after_delete", after_delete)
    try:
        for row in rows:
            world.session.delete(row)
        world.session.commit()
    finally:
        event.remove(Document, "before_delete", before_delete)
        event.remove(Document, "after_delete", after_delete)
    [back] = world.session.scalars(select(Document)).all()
    assert world.stored(back.file) == b"kept"
    assert world.count() == 1


# -- views -----------------------------------------------------------------------------------------------------------------

HIDE = "UPDATE document SET title = 'deleted' WHERE id = OLD.id"
VIEWS = {
    "sqlite": (
        "CREATE VIEW shown AS SELECT id, title, file, pages FROM document WHERE title IS NULL OR title <> 'deleted'",
        f"CREATE TRIGGER hide INSTEAD OF DELETE ON shown BEGIN {HIDE}; END",
    ),
    "postgresql": (
        "CREATE VIEW shown AS SELECT id, title, file, pages FROM document WHERE title IS NULL OR title <> 'deleted'",
        f"CREATE FUNCTION hide() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {HIDE}; RETURN OLD; END $$",
        "CREATE TRIGGER hide INSTEAD OF DELETE ON shown FOR EACH ROW EXECUTE FUNCTION hide()",
    ),
}


@pytest.mark.parametrize("in_bulk", [False, True])
def test_row_deleted_through_a_view_keeps_its_files(world: World, caplog: pytest.LogCaptureFixture, *, in_bulk: bool) -> None:
    row = world.add(file=world.file(b"kept"), pages=world.files(1))
    dropped = ["DROP VIEW shown"] if world.database.name == "sqlite" else ["DROP VIEW shown", "DROP FUNCTION hide()"]
    with ddl(world, VIEWS[world.database.name], dropped):
        shown = world.session.get_one(Shown, row.id)
        if in_bulk:
            world.session.execute(delete(Shown))
        else:
            world.session.delete(shown)
        world.session.flush()
    world.session.commit()
    assert (row.title, world.stored(row.file)) == ("deleted", b"kept")
    assert "through a view" in caplog.text
