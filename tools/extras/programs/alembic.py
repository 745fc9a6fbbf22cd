"""Extra ``alembic``: a migration makes a file column with the outbox's triggers, and the next one finds nothing to change."""

from alembic import __version__
from alembic.autogenerate import produce_migrations, render_python_code
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.operations.ops import ModifyTableOps
from sqlalchemy import Engine, create_engine, inspect, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from filerow import FileObject, StoredObject
from filerow.ext import alembic
from filerow.outbox import Outbox

HAS_PLUGINS = tuple(map(int, __version__.split(".")[:2])) >= (1, 18)


class Base(DeclarativeBase):
    """The tables."""


class Document(Base):
    """A row with a file."""

    __tablename__ = "document"
    id: Mapped[int] = mapped_column(primary_key=True)
    file: Mapped[FileObject | None] = mapped_column(StoredObject("docs"))


Outbox(Base.metadata)


def migration(engine: Engine, *, run: bool) -> str:
    """Write the migration that the database needs, and run it."""
    options = {} if HAS_PLUGINS else {"render_item": alembic.render_item}
    with engine.begin() as connection:
        context = MigrationContext.configure(connection, opts={"target_metadata": Base.metadata, **options})
        script = produce_migrations(context, Base.metadata)
        assert script.upgrade_ops is not None
        code = render_python_code(script.upgrade_ops, render_item=None if HAS_PLUGINS else alembic.render_item)
        if run:
            for operation in script.upgrade_ops.ops:
                for each in operation.ops if isinstance(operation, ModifyTableOps) else [operation]:
                    Operations(context).invoke(each)
        return code


def main() -> None:
    """Migrate twice."""
    if HAS_PLUGINS:
        alembic.install()
    engine = create_engine("sqlite://")
    code = migration(engine, run=True)
    assert "filerow.StoredObject(" in code, code
    assert {"document", "filerow_outbox"} <= set(inspect(engine).get_table_names())
    if HAS_PLUGINS:
        assert "create_file_triggers" in code, code
        with engine.connect() as connection:
            assert connection.scalar(text("SELECT count(*) FROM sqlite_master WHERE type = 'trigger'"))
        assert "create_file_triggers" not in migration(engine, run=False)


if __name__ == "__main__":
    main()
