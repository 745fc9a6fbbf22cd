"""Files move to another backend: all of them, whole, and whatever else happens meanwhile wins."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import JSON, insert, select, type_coerce, update
from sqlalchemy.orm import Session

from filerow import FileObject, storages
from filerow.backends.memory import MemoryBackend
from filerow.backends.obstore import ObstoreBackend
from filerow.exceptions import StorageError
from filerow.maintenance import Progress, migrate, migrate_async
from tests.databases import EmptyDatabase
from tests.maintenance.papers import (
    COLUMNS,
    PAPER,
    EarlierPaper,
    HookedBackend,
    Papers,
    codes,
    collect,
    collect_async,
    findings,
    objects,
    outbox,
)
from tests.servers._s3 import S3Server

SQLITE = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


@pytest.fixture(autouse=True)
def old() -> Iterator[MemoryBackend]:
    """The backend that the files are in; they go to ``new``."""
    storages.clear_backends()
    backend = MemoryBackend("old")
    storages.register_backend(backend)
    storages.register_backend(HookedBackend("new"))
    yield backend
    storages.clear_backends()


@pytest.fixture
def new() -> HookedBackend:
    backend = storages.get_backend("new")
    assert isinstance(backend, HookedBackend)
    return backend


@pytest.fixture
def papers(database: EmptyDatabase) -> Papers:
    return Papers(database)


@pytest.fixture(params=["sync", "async"])
def run(request: pytest.FixtureRequest, database: EmptyDatabase) -> Callable[..., list[Progress]]:
    """Migrate either way."""

    def run(papers: Papers, column: str, **options: Any) -> list[Progress]:
        if request.param == "sync":
            return collect(migrate(papers.metadata, papers.engine, column, **options))
        return collect_async(database, lambda engine: migrate_async(papers.metadata, engine, column, **options))

    return run


def in_new(papers: Papers) -> bool:
    return {file.backend_key for files in papers.files().values() for file in files} == {"new"}


@pytest.mark.one_in(3)
@pytest.mark.parametrize("kept", [False, True], ids=["plain", "outbox"])
def test_all_files_of_a_column_move_and_the_old_objects_go(
    database: EmptyDatabase, run: Callable[..., list[Progress]], kept: bool
) -> None:
    papers = Papers(database, kept=kept)
    titles = update(EarlierPaper).values(title="mine")
    with papers.engine.begin() as connection:
        connection.execute(titles)
    before = papers.named()
    progress = {column: run(papers, column, batch=3) for column in COLUMNS}
    assert in_new(papers)
    papers.check()
    last = {column: steps[-1] for column, steps in progress.items()}
    assert {column: (one.changed, codes(progress[column])) for column, one in last.items()} == {
        "paper.file": (4, []), "paper.pages": (8, []), "paper.chosen": (4, []),
    }  # fmt: skip
    assert [one.done for one in progress["paper.file"]] == [3, 4]
    assert {one.total for one in progress["paper.file"]} == {4}
    assert last["paper.file"].transferred == sum(len(contents[0]) for contents in papers.contents.values() if contents)
    if kept:
        assert before <= objects()
        assert outbox.drain(papers.engine).deleted == len(before)
    assert objects() == papers.named()
    assert {ref.path for ref in before} & {ref.path for ref in papers.named()} == {
        ref.path for ref in before if ref.path.startswith("chosen/")
    }
    with papers.engine.connect() as connection:
        assert set(connection.scalars(select(EarlierPaper.title))) == {"mine"}, "the rewrite is not a change of the row"
    assert [run(papers, column) for column in ("paper.file", "paper.chosen")] == [[], []]
    assert run(papers, "paper.pages")[-1].changed == 0


@SQLITE
def test_a_dry_run_counts_and_changes_nothing(papers: Papers, run: Callable[..., list[Progress]]) -> None:
    before = papers.named()
    progress = run(papers, "paper.pages", dry_run=True)
    assert (progress[-1].done, progress[-1].changed, progress[-1].would_change) == (5, 0, 8)
    assert progress[-1].transferred == sum(len(page) for contents in papers.contents.values() for page in contents[1:3])
    assert papers.named() == before == objects()


@SQLITE
def test_missing_or_damaged_file_is_a_finding_and_others_move(
    papers: Papers, old: MemoryBackend, run: Callable[..., list[Progress]]
) -> None:
    files = papers.files()
    old.delete(files[1][0].path)
    old.put(files[2][0].path, b"damaged", _overwrite())
    old.put(files[3][0].path, b"*" * len(papers.contents[3][0]), _overwrite())
    progress = run(papers, "paper.file")
    assert [(one.code, one.where, one.level) for one in findings(progress)] == [
        ("missing", "paper.file id=1", "error"), ("size", "paper.file id=2", "error"), ("checksum", "paper.file id=3", "error"),
    ]  # fmt: skip
    assert progress[-1].changed == 1
    assert [files[0].backend_key for _, files in sorted(papers.files().items()) if files] == ["old", "old", "old", "new"]
    assert {ref for ref in objects() if ref.backend == "new"} == {ref for ref in papers.named() if ref.backend == "new"}


@SQLITE
def test_a_missing_page_stays_and_the_other_pages_move(
    papers: Papers, old: MemoryBackend, run: Callable[..., list[Progress]]
) -> None:
    old.delete(papers.files()[1][1].path)
    progress = run(papers, "paper.pages")
    assert codes(progress) == ["missing"]
    assert [file.backend_key for file in papers.files()[1]] == ["old", "old", "new", "old"]
    assert progress[-1].changed == 7
    assert codes(run(papers, "paper.pages")) == ["missing"]


@SQLITE
def test_failed_batch_is_undone_and_the_next_run_continues(papers: Papers, new: HookedBackend) -> None:
    puts: list[str] = []

    def fail(path: str) -> None:
        puts.append(path)
        if len(puts) == 4:
            msg = "injected: the store is full"
            raise OSError(msg)

    new.before_put = fail
    progress: list[Progress] = []
    with pytest.raises(StorageError, match="the store is full"):
        progress.extend(_until_it_fails(papers, progress))
    assert codes(progress) == ["stopped"]
    assert (progress[-1].done, progress[-1].changed) == (2, 2)
    assert objects() == papers.named(), "the copies of the batch that failed are gone"
    new.before_put = None
    rest = collect(migrate(papers.metadata, papers.engine, "paper.file", batch=2, resume=progress[-1].cursor))
    assert (rest[-1].done, rest[-1].changed) == (2, 2)
    assert {files[0].backend_key for files in papers.files().values() if files} == {"new"}


def _until_it_fails(papers: Papers, into: list[Progress]) -> list[Progress]:
    for one in migrate(papers.metadata, papers.engine, "paper.file", batch=2, concurrency=1):
        into.append(one)  # noqa: PERF402 - what came before the error is wanted
    return []


@SQLITE
def test_row_changed_meanwhile_wins_and_is_looked_at_again(
    papers: Papers, new: HookedBackend, run: Callable[..., list[Progress]]
) -> None:
    """The application replaces a file, deletes a row and turns pages while their files are being copied."""

    def change(path: str) -> None:
        if path.startswith("paper/"):
            new.before_put = None
            with Session(papers.engine) as session:
                session.get_one(papers.model, 1).file = FileObject(content=b"replaced")
                session.delete(session.get_one(papers.model, 2))
                third = session.get_one(papers.model, 3)
                third.pages.pop(0)
                session.commit()

    new.before_put = change
    progress = run(papers, "paper.file")
    assert codes(progress) == []
    new.before_put = change
    papers.contents[1][0] = b"replaced"
    del papers.contents[2]
    papers.contents[3].pop(1)
    papers.check()
    new.before_put = None
    assert codes(run(papers, "paper.pages") + run(papers, "paper.chosen")) == []
    assert in_new(papers)
    papers.check()
    assert objects() == papers.named()


@SQLITE
def test_pages_that_change_meanwhile_win(papers: Papers, new: HookedBackend, run: Callable[..., list[Progress]]) -> None:
    def append(path: str) -> None:
        new.before_put = None
        papers.append(2, b"appended")

    new.before_put = append
    assert codes(run(papers, "paper.pages")) == []
    papers.contents[2].insert(3, b"appended")
    papers.check()
    assert [file.backend_key for file in papers.files()[2]] == ["old", "new", "new", "new", "old"]
    assert objects() == papers.named()


@SQLITE
def test_a_row_that_never_rests_is_left_to_the_next_run(papers: Papers, new: HookedBackend) -> None:
    def restless(path: str) -> None:
        new.before_put = None
        papers.append(2, b"one more")
        new.before_put = restless

    new.before_put = restless
    progress = collect(migrate(papers.metadata, papers.engine, "paper.pages"))
    assert [(one.code, one.where) for one in findings(progress)] == [("changed-meanwhile", "paper.pages id=2")]
    assert objects() == papers.named()
    new.before_put = None
    assert collect(migrate(papers.metadata, papers.engine, "paper.pages"))[-1].changed == 2, "its first two pages"


@SQLITE
def test_chosen_path_stays_where_a_killed_run_has_left_a_copy(papers: Papers, old: MemoryBackend, new: HookedBackend) -> None:
    files = papers.files()
    new.put(files[1][3].path, papers.contents[1][3])
    new.put(files[2][3].path, b"somebody else's")
    progress = collect(migrate(papers.metadata, papers.engine, "paper.chosen"))
    assert [(one.code, one.where) for one in findings(progress)] == [("taken", "paper.chosen id=2")]
    assert [files[3].backend_key for _, files in sorted(papers.files().items()) if files] == ["new", "old", "new", "new"]
    assert new.read(files[2][3].path) == b"somebody else's"
    papers.check()


@SQLITE
def test_documents_of_other_libraries_move_with_all_their_facts(papers: Papers, old: MemoryBackend) -> None:
    old.put("2f9a1c5e", b"cat")
    theirs = {
        "path": "old/2f9a1c5e", "file_id": "2f9a1c5e", "upload_storage": "old", "filename": "cat.png", "size": 3,
        "files": ["old/2f9a1c5e", "old/thumb"], "thumbnail": {"path": "old/thumb", "width": 3}, "url": None, "saved": True,
        "content_type": "image/png", "extra": {"content_type": "image/png", "meta_data": {"page": 1, "filename": "cat.png"}},
    }  # fmt: skip
    with papers.engine.begin() as connection:
        connection.execute(insert(PAPER).values(id=77, pages=[], file=type_coerce(theirs, JSON)))
    collect(migrate(papers.metadata, papers.engine, "paper.file"))
    (file,) = papers.files()[77]
    assert (file.backend_key, file.filename, file.content_type, file.get_content()) == ("new", "cat.png", "image/png", b"cat")
    assert file.metadata == {"page": 1, "thumbnail": {"path": "old/thumb", "width": 3}, "files": ["old/thumb"]}
    file.verify()
    assert file.checksum


@SQLITE
def test_an_object_that_another_row_names_stays(papers: Papers, old: MemoryBackend) -> None:
    """As after ``INSERT INTO ... SELECT``: both rows get an object of their own."""
    with papers.engine.begin() as connection:
        shared = select(type_coerce(EarlierPaper.file, JSON)).where(EarlierPaper.id == 1).scalar_subquery()
        connection.execute(update(PAPER).where(EarlierPaper.id == 5).values(file=shared))
    first = papers.files()[1][0]
    collect(migrate(papers.metadata, papers.engine, "paper.file", batch=1))
    papers.contents[5] = papers.contents[1][:1]
    papers.check()
    assert ("old", first.path) not in objects()
    assert objects() == papers.named()


@SQLITE
def test_large_files_are_streamed(papers: Papers, run: Callable[..., list[Progress]]) -> None:
    content = bytes(range(256)) * (3 << 12)
    with Session(papers.engine) as session:
        session.add(EarlierPaper(id=9, pages=[FileObject(content=content)]))
        session.commit()
    papers.contents[9] = [content]
    assert run(papers, "paper.pages")[-1].transferred > len(content)
    papers.check()


@SQLITE
def test_inside_one_bucket_the_store_copies_and_nothing_is_read(
    database: EmptyDatabase, s3_server: S3Server, run: Callable[..., list[Progress]]
) -> None:
    storages.clear_backends()
    prefix = s3_server.make_prefix()
    options: dict[str, Any] = {
        "aws_endpoint": s3_server.endpoint,
        "aws_access_key_id": s3_server.access_key,
        "aws_secret_access_key": s3_server.secret_key,
    }
    for key in ("old", "new"):
        storages.register_backend(ObstoreBackend(key, f"s3://{s3_server.shared_bucket}/{prefix}{key}/", **options))
    papers = Papers(database, files=4)
    old, files = storages.get_backend("old"), papers.files()
    old.delete(files[1][0].path)
    old.put(files[2][0].path, b"damaged", _overwrite())
    old.put(files[3][0].path, b"*" * len(papers.contents[3][0]), _overwrite())
    old.put(files[4][1].path, b"*" * len(papers.contents[4][1]), _overwrite())
    progress = run(papers, "paper.file")
    assert [(one.code, one.where) for one in findings(progress)] == [
        ("missing", "paper.file id=1"), ("size", "paper.file id=2"), ("checksum", "paper.file id=3"),
    ]  # fmt: skip
    progress = run(papers, "paper.pages")
    assert [(one.code, one.where) for one in findings(progress)] == [("checksum", "paper.pages id=4")]
    assert (progress[-1].transferred, progress[-1].changed) == (len(papers.contents[4][1]), 7)
    for number in (1, 2, 3):
        pages = papers.files()[number][1:3]
        assert [page.backend_key for page in pages] == ["new", "new"]
        assert [page.get_content() for page in pages] == papers.contents[number][1:3]
    assert {ref for ref in objects() if ref.backend == "new"} == {ref for ref in papers.named() if ref.backend == "new"}


@SQLITE
def test_what_cannot_begin_says_why(papers: Papers) -> None:
    with pytest.raises(LookupError, match=r"there are: .*paper\.pages"):
        migrate(papers.metadata, papers.engine, "paper.title")
    with pytest.raises(LookupError, match="nowhere"):
        migrate(papers.metadata, papers.engine, "paper.file", to="nowhere")
    with pytest.raises(ValueError, match=r"not a cursor of paper\.file"):
        collect(migrate(papers.metadata, papers.engine, "paper.file", resume="{}"))


def _overwrite() -> Any:
    from filerow.backends.base import PutOptions

    return PutOptions(create_only=False)
