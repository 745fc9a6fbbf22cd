"""SQLModel: a file column as a field of a table model.

::

    class DocumentBase(SQLModel):
        name: str
        file: FileObject | None = file_field(StoredObject("docs", max_size="25 MB"), default=None)


    class Document(DocumentBase, table=True):
        id: int | None = Field(default=None, primary_key=True)
        pages: FileObjectList = file_field(StoredObject("docs", multiple=True))


    class DocumentPublic(DocumentBase):
        id: int

SQLModel's sessions need nothing else. To clients files show their public view, and documents from clients are refused, even in
table models, which validate nothing else.
"""

from __future__ import annotations

from typing import Any

from filerow._file.list import FileObjectList
from filerow._orm.column import StoredObject
from filerow._requirements import needs

with needs("sqlmodel", "filerow.ext.sqlmodel"):
    from sqlmodel import Field

__all__ = ("file_field",)


def file_field(column: StoredObject, **options: Any) -> Any:
    """Return a field for a file, or a list of files, with its own column.

    Whether the column takes NULL follows from the annotation, as with every field: ``FileObject | None`` does. A base class may
    have such a field; each table of its subclasses gets a column.

    Args:
        column: The column's type, with its rules.
        options: Options of SQLModel's ``Field``, such as ``default=``, ``title=``, ``description=``. A list is empty by default.

    Raises:
        TypeError: ``sa_column=`` or ``sa_type=`` was also given; they would define the column too.
    """
    twice = sorted({"sa_column", "sa_type"} & set(options))
    if twice:
        raise TypeError(f"file_field() makes the column of the StoredObject it is given; remove {twice[0]}=")
    if column.multiple and not {"default", "default_factory"} & set(options):
        options["default_factory"] = FileObjectList
    field: Any = Field  # it declares a class here, and takes an instance as SQLAlchemy does
    return field(sa_type=column, **options)
