"""Extra ``sqlmodel``: a table model keeps a file, and a public model shows it."""

from sqlmodel import Field, Session, SQLModel, create_engine

from filerow import FileObject, FileObjectList, StoredObject
from filerow.ext.sqlmodel import file_field
from tools.extras.programs.model import CONTENT, directory


class DocumentBase(SQLModel):
    """What both have."""

    file: FileObject | None = file_field(StoredObject("docs", max_size="1 MB"), default=None)


class Stored(DocumentBase, table=True):
    """The table."""

    id: int | None = Field(default=None, primary_key=True)
    pages: FileObjectList = file_field(StoredObject("docs", multiple=True))


class Public(DocumentBase):
    """What clients see."""

    id: int


def main() -> None:
    """Store, show and delete."""
    backend = directory()
    engine = create_engine("sqlite://")
    SQLModel.metadata.create_all(engine)
    with Session(engine) as session:
        session.add(document := Stored(file=FileObject(filename="a.txt", content=CONTENT)))
        document.pages.append(FileObject(filename="b.txt", content=CONTENT))
        session.commit()
        session.refresh(document)
        shown = Public.model_validate(document, from_attributes=True).model_dump(mode="json")
        assert shown["file"]["size"] == len(CONTENT), shown
        assert document.file is not None
        path = document.file.path
        session.delete(document)
        session.commit()
        assert not backend.exists(path)


if __name__ == "__main__":
    main()
