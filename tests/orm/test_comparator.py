"""Queries look into the document, on every database; the column's type can be cached and written into migrations."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import produce_migrations, render_python_code
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import ColumnElement, create_engine, insert, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

import filerow
from filerow import FileObject, FileObjectList, StoredObject, storages

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.one_in(1)  # each of its few variants, in every run

METADATA = {"k": "one", "n": 1, "deep": {"x": [5]}}
DIALECTS = ["sqlite", "postgresql", "mariadb"]


class Base(DeclarativeBase):
    pass


class Document(Base):
    __tablename__ = "comparator_document"
    id: Mapped[int] = mapped_column(primary_key=True)
    file: Mapped[FileObject | None] = mapped_column("the_file", StoredObject("docs"))
    pages: Mapped[FileObjectList] = mapped_column(StoredObject("docs", multiple=True))


def _engine(dialect: str, request: pytest.FixtureRequest) -> Iterator[sa.Engine]:
    if dialect == "sqlite":
        engine = create_engine(f"sqlite:///{request.getfixturevalue('tmp_path_factory').mktemp('db')}/test.db")
        yield engine
        engine.dispose()
        return
    name, driver = ("postgres_server", "psycopg") if dialect == "postgresql" else ("mariadb_server", "pymysql")
    server = request.getfixturevalue(name)
    database = server.make_database()
    engine = create_engine(database.url(driver))
    yield engine
    engine.dispose()
    server.drop_database(database)


HUGE = 6_000_000_000
"""More bytes than 32 bits can count, and than a test wants to store."""


def write_huge(session: Session) -> None:
    document = {"v": 1, "backend": "docs", "path": "h", "filename": "h.bin", "content_type": "video/mp4", "size": HUGE}
    session.add(Document(id=6, file=None))
    session.flush()
    table = sa.table(Document.__tablename__, sa.column("id"), sa.column("the_file", sa.JSON))
    session.execute(sa.update(table).where(table.c.id == 6).values(the_file=document))


@pytest.fixture(scope="module", params=DIALECTS)
def engine(request: pytest.FixtureRequest) -> Iterator[sa.Engine]:
    """An engine with rows in it, written by the ORM."""
    for engine in _engine(request.param, request):
        Base.metadata.create_all(engine)
        storages.clear_backends()
        storages.register_backend("memory://", key="docs")
        with Session(engine) as session:
            session.add_all([
                Document(id=1, file=FileObject(filename="a.txt", content=b"x" * 10, metadata=METADATA)),
                Document(id=2, file=FileObject(filename="b.md", content_type="text/markdown", content=b"x" * 2000)),
                Document(id=3, file=FileObject(filename="ü%_\"'.txt", content=b"", metadata={"k": "two", "n": 20})),
                Document(id=4, file=None, pages=[FileObject(filename="p.txt", content=b"p")]),
                Document(id=5),
            ])  # fmt: skip
            session.commit()
        storages.clear_backends()
        yield engine


f = Document.file
QUERIES: dict[str, tuple[Callable[[], ColumnElement[bool]], set[int]]] = {
    "size >": (lambda: f.size > 9, {1, 2}),
    "size > as a number, not as text": (lambda: f.size > 5, {1, 2}),
    "size ==": (lambda: f.size == 0, {3}),
    "size between": (lambda: f.size.between(1, 100), {1}),
    "content_type": (lambda: f.content_type == "text/markdown", {2}),
    "content_type like": (lambda: f.content_type.like("text/p%"), {1, 3}),
    "filename": (lambda: f.filename == "ü%_\"'.txt", {3}),
    "filename endswith": (lambda: f.filename.endswith(".txt"), {1, 3}),
    "filename in": (lambda: f.filename.in_(["a.txt", "b.md"]), {1, 2}),
    "path": (lambda: f.path.startswith("comparator_document/the_file/"), {1, 2, 3}),
    "path endswith": (lambda: f.path.endswith(".md"), {2}),
    "backend": (lambda: f.backend == "docs", {1, 2, 3}),
    "checksum": (lambda: f.checksum.startswith("sha256:e3b0c44298fc1c14"), {3}),
    "etag": (lambda: f.etag.is_not(None), {1, 2, 3}),
    "version_id": (lambda: f.version_id.is_not(None), {1, 2, 3}),
    "last_modified": (lambda: f.last_modified > 1_700_000_000.5, {1, 2, 3}),
    "metadata text": (lambda: f.metadata["k"].as_string() == "one", {1}),
    "metadata number": (lambda: f.metadata["n"].as_integer() > 3, {3}),
    "metadata deep": (lambda: f.metadata["deep", "x", 0].as_integer() == 5, {1}),
    "metadata deep, step by step": (lambda: f.metadata["deep"]["x"][0].as_integer() == 5, {1}),
    "metadata missing": (lambda: f.metadata["k"].as_string().is_(None) & f.is_not(None), {2}),
    "JSON operators": (lambda: f["size"].as_integer() == 10, {1}),
    "JSON path": (lambda: f["metadata", "k"].as_string() == "two", {3}),
    "is None": (lambda: f.is_(None), {4, 5}),
    "is not None": (lambda: f.is_not(None), {1, 2, 3}),
    "== None": (lambda: f == None, {4, 5}),  # noqa: E711
    "!= None": (lambda: f != None, {1, 2, 3}),  # noqa: E711
    "and, or, not": (lambda: (f.size > 100) | ~(f.filename == "a.txt"), {2, 3}),
}


@pytest.mark.parametrize(("condition", "expected"), QUERIES.values(), ids=QUERIES)
def test_queries_look_into_the_document(
    engine: sa.Engine, condition: Callable[[], ColumnElement[bool]], expected: set[int]
) -> None:
    with Session(engine) as session:
        assert set(session.scalars(select(Document.id).where(condition()))) == expected
        core = select(Document.__table__.c.id).where(condition())
        assert set(session.scalars(core)) == expected


def test_a_file_is_compared_by_backend_and_path(engine: sa.Engine) -> None:
    with Session(engine) as session:
        file = session.get_one(Document, 2).file
        assert file is not None
        assert session.scalars(select(Document.id).where(f == file)).all() == [2]
        assert session.scalars(select(Document.id).where(f == file.replace(filename="other"))).all() == [2]
        assert set(session.scalars(select(Document.id).where(f != file))) == {1, 3}
        elsewhere = FileObject.from_dict({**file.to_dict(), "backend": "elsewhere"})
        assert session.scalars(select(Document.id).where(f == elsewhere)).all() == []
        assert set(session.scalars(select(Document.id).where(f.in_([file, session.get_one(Document, 1).file])))) == {1, 2}
        assert set(session.scalars(select(Document.id).where(f.not_in([file])))) == {1, 3}


@pytest.mark.parametrize(
    "condition",
    [lambda file: f.in_([file, None]), Document.pages.contains, f.like, lambda file: f < file],
    ids=["in with None", "contains", "like", "less"],
)
def test_unsupported_comparisons_of_a_file_raise_at_once(condition: Callable[[FileObject], object]) -> None:
    with pytest.raises(TypeError, match=r"compare files with ==, != and in_"):
        condition(FileObject.from_dict({"v": 1, "backend": "docs", "path": "a"}))


def test_rows_are_ordered_by_facts(engine: sa.Engine) -> None:
    with Session(engine) as session:
        some = select(Document.id).where(f.is_not(None))
        assert session.scalars(some.order_by(f.size)).all() == [3, 1, 2]
        assert session.scalars(some.order_by(f.size.desc())).all() == [2, 1, 3]
        assert session.scalars(some.order_by(f.content_type, f.size.desc())).all() == [2, 1, 3]


def test_facts_can_be_selected(engine: sa.Engine) -> None:
    with Session(engine) as session:
        row = session.execute(select(f.filename, f.size, f.content_type, f.backend).where(Document.id == 2)).one()
        assert tuple(row) == ("b.md", 2000, "text/markdown", "docs")
        assert isinstance(row.size, int) if hasattr(row, "size") else isinstance(row[1], int)
        assert session.scalar(select(sa.func.sum(f.size))) == 2010
        assert session.scalar(select(f.metadata).where(Document.id == 1)) == METADATA
        groups = select(f.content_type.label("kind"), sa.func.count()).where(f.is_not(None)).group_by("kind")
        assert {tuple(group) for group in session.execute(groups)} == {("text/plain", 2), ("text/markdown", 1)}


def test_values_come_back_as_they_were(engine: sa.Engine) -> None:
    with Session(engine) as session:
        first = session.get_one(Document, 1)
        assert first.file is not None
        assert (first.file.filename, first.file.size) == ("a.txt", 10)
        assert first.file.metadata == METADATA
        assert first.pages == []
        assert isinstance(first.pages, FileObjectList)
        assert [page.filename for page in session.get_one(Document, 4).pages] == ["p.txt"]
        assert session.get_one(Document, 5).file is None


def test_json_null_of_other_libraries_is_not_a_file(engine: sa.Engine) -> None:
    table = Document.__table__
    columns = [sa.Column("id", sa.Integer), sa.Column("the_file", sa.JSON), sa.Column("pages", sa.JSON)]
    raw = sa.Table(table.name, sa.MetaData(), *columns)
    with engine.connect() as connection:
        connection.execute(insert(raw).values(id=90, the_file=sa.JSON.NULL, pages=sa.JSON.NULL))
        assert connection.scalar(select(table.c.the_file).where(table.c.id == 90)) is None
        assert connection.scalar(select(table.c.pages).where(table.c.id == 90)) == []


def test_lists_of_other_libraries_are_read(engine: sa.Engine) -> None:
    theirs = {"filename": "a/one.txt", "backend": "docs", "size": 1, "metadata": {}}
    files = {"file_id": "two", "upload_storage": "docs", "path": "docs/two", "filename": "two.txt", "saved": True}
    raw = sa.Table(Document.__tablename__, sa.MetaData(), sa.Column("id", sa.Integer), sa.Column("pages", sa.JSON))
    with Session(engine) as session:
        session.execute(insert(raw), [{"id": 91, "pages": [theirs, None, files]}, {"id": 92, "pages": theirs}])
        assert [page.path for page in session.get_one(Document, 91).pages] == ["a/one.txt", "two"]
        assert [page.path for page in session.get_one(Document, 92).pages] == ["a/one.txt"]


def test_an_aliased_class_is_queried_alike(engine: sa.Engine) -> None:
    other = sa.orm.aliased(Document)
    with Session(engine) as session:
        bigger = select(Document.id, other.id).where(other.file.size > f.size, Document.id == 1)
        assert [tuple(row) for row in session.execute(bigger)] == [(1, 2)]


def test_statements_are_cached(engine: sa.Engine) -> None:
    with warnings.catch_warnings(), Session(engine) as session:
        warnings.simplefilter("error")
        keys = set()
        for limit in (1, 100):
            statement = select(Document).where(f.size > limit, f.metadata["k"].as_string() == "x")
            session.scalars(statement).all()
            key = statement._generate_cache_key()
            assert key is not None
            keys.add(key.key)
        assert len(keys) == 1


def test_types_that_treat_values_differently_cache_separately() -> None:
    types = [StoredObject(), StoredObject("docs"), StoredObject("docs", multiple=True)]
    assert len({kind._static_cache_key for kind in types}) == len(types)
    assert StoredObject("docs")._static_cache_key == StoredObject(backend="docs")._static_cache_key


# -- Alembic -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dialect", DIALECTS)
def test_alembic_writes_a_migration_that_runs(dialect: str, request: pytest.FixtureRequest) -> None:
    metadata = sa.MetaData()
    sa.Table(
        "migrated", metadata, sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("file", StoredObject("docs", max_size="25 MB", content_types=["image/*", "application/pdf"], shards=16)),
        sa.Column("pages", StoredObject("docs", multiple=True, lifecycle=False)), sa.Column("plain", StoredObject()),
    )  # fmt: skip
    for engine in _engine(dialect, request):
        with engine.begin() as connection:
            context = MigrationContext.configure(connection, opts={"compare_type": True})
            upgrade = produce_migrations(context, metadata).upgrade_ops
            assert upgrade is not None
            code = render_python_code(upgrade)
            rules = "max_size=25000000, content_types=['image/*', 'application/pdf'], shards=16"
            assert f"sa.Column('file', filerow.StoredObject('docs', {rules}), nullable=True)" in code
            assert "filerow.StoredObject('docs', multiple=True, lifecycle=False)" in code
            assert "sa.Column('plain', filerow.StoredObject(), nullable=True)" in code
            lines = "\n".join(line.removeprefix("    ") for line in code.splitlines())
            exec(lines, {"op": Operations(context), "sa": sa, "filerow": filerow})
            kind = {"sqlite": sa.JSON, "postgresql": sa.dialects.postgresql.JSONB, "mariadb": sa.types.TypeEngine}[dialect]
            columns = {column["name"]: column["type"] for column in sa.inspect(connection).get_columns("migrated")}
            assert isinstance(columns["file"], kind)
        with engine.connect() as connection:
            context = MigrationContext.configure(connection, opts={"compare_type": True})
            again = produce_migrations(context, metadata).upgrade_ops
            assert again is not None
            assert [op for op in again.ops if "migrated" in str(getattr(op, "table_name", ""))] == []


def test_a_type_says_how_to_make_it_again() -> None:
    for kind in (StoredObject("docs"), StoredObject(), StoredObject("it's", multiple=True, max_size=1, shards=2)):
        again: Any = eval(repr(kind), {"StoredObject": StoredObject})
        assert again._static_cache_key == kind._static_cache_key


def test_python_types_are_known() -> None:
    assert StoredObject().python_type is FileObject
    assert StoredObject(multiple=True).python_type is FileObjectList


def test_a_file_of_more_than_two_gigabytes_can_be_asked_for(engine: sa.Engine) -> None:
    with Session(engine) as session:
        write_huge(session)
        assert session.scalars(select(Document.id).where(f.size > 1 << 31)).all() == [6]
        assert session.scalar(select(sa.func.sum(f.size))) == HUGE + 2010
        assert session.scalar(select(f.size).where(Document.id == 6)) == HUGE
        session.rollback()
