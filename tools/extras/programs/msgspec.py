"""Extra ``msgspec``: a struct shows a file and refuses a document."""

import msgspec

from filerow import FileObject
from filerow.ext.msgspec import dec_hook, document_dec_hook, document_enc_hook, enc_hook, schema_hook
from tools.extras.programs.model import CONTENT, directory


class Shown(msgspec.Struct):
    """What clients see."""

    file: FileObject
    pages: list[FileObject]


def main() -> None:
    """Encode and decode."""
    directory()
    file = FileObject("docs", "a.txt", content=CONTENT).save()
    shown = msgspec.json.encode(Shown(file, [file]), enc_hook=enc_hook)
    assert f'"size":{len(CONTENT)}'.encode() in shown
    assert "filename" in str(msgspec.json.schema(Shown, schema_hook=schema_hook))
    trusted = msgspec.json.encode(Shown(file, []), enc_hook=document_enc_hook)
    assert msgspec.json.decode(trusted, type=Shown, dec_hook=document_dec_hook).file == file
    try:
        msgspec.json.decode(trusted, type=Shown, dec_hook=dec_hook)
    except msgspec.ValidationError:
        return
    raise AssertionError("a document was taken from a client")


if __name__ == "__main__":
    main()
