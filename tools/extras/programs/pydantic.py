"""Extra ``pydantic``: a model shows a file, with a URL, and refuses a document."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, ValidationError

from filerow import FileObject, FileObjectList
from filerow.ext.pydantic import SignedUrl
from tools.extras.programs.model import CONTENT, directory


class Shown(BaseModel):
    """What clients see."""

    model_config = ConfigDict(from_attributes=True)
    file: FileObject
    pages: FileObjectList
    signed: Annotated[FileObject, SignedUrl()]


def main() -> None:
    """Dump and validate."""
    directory()
    file = FileObject("docs", "a.txt", content=CONTENT).save()
    shown = Shown(file=file, pages=FileObjectList([file]), signed=file).model_dump(mode="json")
    assert shown["file"]["size"] == shown["pages"][0]["size"] == len(CONTENT)
    assert shown["signed"]["url"].startswith("/files/")
    assert "readOnly" in str(Shown.model_json_schema())
    trusted = {"file": file.to_dict(), "pages": [], "signed": file.to_dict()}
    assert Shown.model_validate(trusted, context={"filerow": "document"}).file == file
    try:
        Shown.model_validate(trusted)
    except ValidationError:
        return
    raise AssertionError("a document was taken from a client")


if __name__ == "__main__":
    main()
