"""What can be seen of a file where it is assigned is refused there, by every way to assign; the rest while it passes."""

from __future__ import annotations

import io
import pickle
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import pytest
from sqlalchemy import create_engine, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from filerow import FileObject, FileObjectList, StoredObject
from filerow.exceptions import ContentError, ContentTypeError, FileStateError, FileTooLargeError, FileValidationError
from filerow.exceptions import ImageDimensionsError as DimensionsError
from tests.frameworks import starlette
from tests.validation.images import picture, png

if TYPE_CHECKING:
    from tests.file.conftest import WatchedBackend

BOMB = png(50_000, 50_000)
PHOTO = png(31, 17)
HTML = b"<!DOCTYPE html><script>alert(1)</script>"
SVG = b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><script>alert(1)</script></svg>'


class Base(DeclarativeBase):
    pass


PHOTOS: dict[str, Any] = {"max_size": 2000, "content_types": ["image/*"], "max_pixels": 1_000_000}


class Album(Base):
    __tablename__ = "album"
    id: Mapped[int] = mapped_column(primary_key=True)
    cover: Mapped[FileObject | None] = mapped_column(StoredObject("docs", **PHOTOS))
    photos: Mapped[FileObjectList] = mapped_column(StoredObject("docs", multiple=True, **PHOTOS))
    any: Mapped[FileObject | None] = mapped_column(StoredObject("docs"))


@pytest.fixture
def session() -> Iterator[Session]:
    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        yield session
    engine.dispose()


opened: list[IO[bytes]] = []


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    while opened:
        opened.pop().close()


# -- each kind of content, each way to assign ------------------------------------------------------------------------------

WRONG: dict[str, tuple[bytes, type[FileValidationError], int]] = {
    "too_large": (PHOTO + bytes(2000), FileTooLargeError, 413),
    "wrong_type": (HTML, ContentTypeError, 415),
    "bomb": (BOMB, DimensionsError, 422),
}


def a_path(data: bytes, folder: Path) -> Path:
    path = folder / "x.png"
    path.write_bytes(data)
    return path


def an_open_file(data: bytes, folder: Path) -> Any:
    opened.append(a_path(data, folder).open("rb"))
    return opened[-1]


def a_spooled_file(data: bytes, folder: Path) -> Any:
    opened.append(file := tempfile.SpooledTemporaryFile(max_size=10))  # noqa: SIM115 - closed after the test
    file.write(data)
    file.seek(0)
    return file


def a_starlette_upload(data: bytes, folder: Path) -> Any:
    return starlette.datastructures.UploadFile(a_spooled_file(data, folder), filename="x.png")


def a_flask_upload(data: bytes, folder: Path) -> Any:
    from werkzeug.datastructures import FileStorage

    return FileStorage(a_spooled_file(data, folder), filename="x.png", content_type="image/png")


CONTENTS: dict[str, Callable[[bytes, Path], Any]] = {
    "bytes": lambda data, folder: data,
    "bytearray": lambda data, folder: bytearray(data),
    "memoryview": lambda data, folder: memoryview(data),
    "path": a_path,
    "bytes_io": lambda data, folder: io.BytesIO(data),
    "open_file": an_open_file,
    "spooled_file": a_spooled_file,
    "starlette": a_starlette_upload,
    "flask": a_flask_upload,
}


@pytest.mark.parametrize(("data", "error", "status"), WRONG.values(), ids=WRONG)
@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
def test_readable_content_is_refused_on_assignment(
    content: Callable[[bytes, Path], Any], data: bytes, error: type[FileValidationError], status: int, tmp_path: Path
) -> None:
    album = Album()
    file = FileObject(filename="x.png", content=content(data, tmp_path))
    with pytest.raises(error) as refused:
        album.cover = file
    assert (refused.value.field, refused.value.status_code) == ("cover", status)
    assert album.cover is None


def setting(album: Album, file: FileObject) -> None:
    album.photos = FileObjectList([good(), file])


def setting_a_plain_list(album: Album, file: FileObject) -> None:
    album.photos = [good(), file]  # type: ignore[assignment]


def replacing_all(album: Album, file: FileObject) -> None:
    album.photos[:] = [file]


def adding_in_place(album: Album, file: FileObject) -> None:
    album.photos += [good(), file]


def good() -> FileObject:
    return FileObject(filename="good.png", content=PHOTO)


WAYS: dict[str, Callable[[Album, FileObject], object]] = {
    "set": setting,
    "set_a_plain_list": setting_a_plain_list,
    "append": lambda album, file: album.photos.append(file),
    "extend": lambda album, file: album.photos.extend([good(), file]),
    "insert": lambda album, file: album.photos.insert(0, file),
    "setitem": lambda album, file: album.photos.__setitem__(0, file),
    "slice": replacing_all,
    "iadd": adding_in_place,
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_refused_list_change_leaves_the_list_as_it_was(way: Callable[..., object], session: Session) -> None:
    kept = good()
    album = Album(photos=FileObjectList([kept]))
    bad = FileObject(filename="x.png", content=BOMB)
    with pytest.raises(DimensionsError, match=r"^photos: 'x\.png' has 50,000 x 50,000 pixels"):
        way(album, bad)
    assert list(album.photos) == [kept]
    session.add(album)
    session.commit()
    with pytest.raises(DimensionsError):
        way(session.scalars(select(Album)).one(), FileObject(filename="x.png", content=BOMB))
    assert [photo.filename for photo in album.photos] == ["good.png"]


def test_a_refused_list_does_not_become_the_row_s() -> None:
    album = Album()
    refused = FileObjectList([FileObject(content=HTML)])
    with pytest.raises(ContentTypeError):
        album.photos = refused
    refused.append(FileObject(content=HTML))  # nobody's list yet


def test_the_constructor_refuses_too() -> None:
    with pytest.raises(DimensionsError, match="cover"):
        Album(cover=FileObject(filename="x.png", content=BOMB))
    with pytest.raises(ContentTypeError, match="photos"):
        Album(photos=[FileObject(content=HTML)])


def test_looking_moves_no_file_and_what_is_looked_at_is_stored(session: Session, tmp_path: Path) -> None:
    file = an_open_file(b"skip" + PHOTO, tmp_path)
    file.seek(4)
    upload = a_starlette_upload(PHOTO, tmp_path)
    album = Album(cover=FileObject(content=file), photos=[FileObject.from_upload(upload)])
    assert file.tell() == 4
    assert upload.file.tell() == 0
    session.add(album)
    session.commit()
    assert album.cover is not None
    assert album.cover.get_content() == album.photos[0].get_content() == PHOTO
    assert album.cover.content_type == "image/png"


def test_a_stream_is_left_alone_until_it_is_stored(session: Session, docs: WatchedBackend) -> None:
    pulled: list[int] = []

    def chunks() -> Iterator[bytes]:
        pulled.append(1)
        yield HTML

    album = Album(cover=FileObject(filename="x.png", content=chunks()))
    assert pulled == []
    session.add(album)
    with pytest.raises(ContentTypeError, match="cover"):
        session.commit()
    assert (pulled, docs.puts) == ([1], [])


def test_a_file_without_rules_is_not_read_where_it_is_assigned() -> None:
    class Untouchable(io.BytesIO):
        reads = 0

        def read(self, size: int | None = -1) -> bytes:
            self.reads += 1
            return super().read(size)

    content = Untouchable(HTML)
    Album(any=FileObject(content=content))
    assert content.reads == 0


def test_files_that_are_stored_are_not_checked_again(session: Session, docs: WatchedBackend) -> None:
    album = Album(any=FileObject(content=HTML))
    session.add(album)
    session.commit()
    assert album.any is not None
    docs.reads.clear()
    album.any = album.any.replace(filename="y.html")
    session.commit()
    assert docs.reads == []


# -- hostile uploads -------------------------------------------------------------------------------------------------------


def a_zip_bomb() -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(1_000_000))
    return target.getvalue()


POLYGLOT = b"GIF89a/*\n\0" + bytes(20) + b"*/=1;alert(1)//"
HOSTILE: list[tuple[str, bytes, str, str | None, str, type[FileValidationError] | None]] = [
    # what it is, bytes, filename, claim, type without rules, what image/* with a pixel limit says
    ("html_named_png", HTML, "x.png", None, "application/octet-stream", ContentTypeError),
    ("html_claimed_png", HTML, "x", "image/png", "application/octet-stream", ContentTypeError),
    ("html_claimed_svg", HTML, "x.svg", "image/svg+xml", "application/octet-stream", ContentTypeError),
    ("html_claimed_pdf", HTML, "x.pdf", None, "application/octet-stream", ContentTypeError),
    ("html_claimed_mp4", HTML, "x.mp4", "video/mp4", "application/octet-stream", ContentTypeError),
    ("html_claimed_text", HTML, "x.txt", "text/plain", "text/plain", ContentTypeError),
    ("svg_with_script", SVG, "x.svg", None, "image/svg+xml", ContentTypeError),
    ("svg_named_png", SVG, "x.png", "image/png", "image/svg+xml", ContentTypeError),
    ("svg_claimed_text", SVG, "x.txt", "text/plain", "text/plain", ContentTypeError),
    ("svg_that_is_not_well_formed", b"<svg onload=alert(1)>", "x.gif", "image/gif", "image/svg+xml", ContentTypeError),
    ("svg_in_utf_16", SVG.decode().encode("utf-16"), "x.png", None, "image/svg+xml", ContentTypeError),
    ("xml_named_png", b"<?xml version='1.0'?><x/>", "x.png", None, "application/octet-stream", ContentTypeError),
    ("polyglot_gif_js", POLYGLOT, "x.js", "text/javascript", "image/gif", None),
    ("bomb", BOMB, "x.png", "image/png", "image/png", DimensionsError),
    ("zip_bomb", a_zip_bomb(), "x.png", "image/png", "application/zip", ContentTypeError),
    ("jpeg_declared_png", picture("JPEG", 5, 5), "x.png", "image/png", "image/jpeg", None),
    ("html_in_mp4", b"\0\0\0\x10ftypisom\0\0\0\0" + HTML, "x.png", "image/png", "video/mp4", ContentTypeError),
    ("html_in_mov", b"\0\0\0\x08wide" + HTML, "x.mov", "video/quicktime", "application/octet-stream", ContentTypeError),
    ("html_in_webm", b"\x1a\x45\xdf\xa3\x87\x42\x82\x84webm" + HTML, "x.weba", "audio/webm", "video/webm", ContentTypeError),
    ("html_before_pdf", HTML + b"%PDF-1.7", "x.pdf", "application/pdf", "application/octet-stream", ContentTypeError),
    ("html_claimed_rtf", HTML, "x.rtf", "text/rtf", "application/octet-stream", ContentTypeError),
    ("html_claimed_font", HTML, "x.woff", "application/font-woff", "application/octet-stream", ContentTypeError),
    ("html_claimed_csv", HTML, "x.csv", "application/vnd.ms-excel", "text/csv", ContentTypeError),
    ("html_claimed_jpg", HTML, "x.jpg", "image/jpg", "application/octet-stream", ContentTypeError),
    ("empty", b"", "x.png", "image/png", "application/octet-stream", ContentTypeError),
]


@pytest.mark.parametrize(
    ("data", "filename", "claim", "stored", "refused"), [row[1:] for row in HOSTILE], ids=[row[0] for row in HOSTILE]
)
def test_hostile_uploads_are_stored_as_what_they_are_or_refused(
    data: bytes,
    filename: str,
    claim: str | None,
    stored: str,
    refused: type[FileValidationError] | None,
    session: Session,
    docs: WatchedBackend,
) -> None:
    album = Album(any=FileObject(filename=filename, content_type=claim, content=data))
    session.add(album)
    session.commit()
    assert album.any is not None
    assert album.any.content_type == stored
    docs.puts.clear()

    hostile = FileObject(filename=filename, content_type=claim, content=iter([data]))
    session.add(Album(cover=hostile))
    if refused is None:
        session.commit()
        assert hostile.content_type == stored
        return
    with pytest.raises(refused):
        session.commit()
    assert docs.puts == []


def test_svg_must_be_named_to_be_allowed() -> None:
    for allowed in (["image/*"], ["image/*", "image/png"]):
        with pytest.raises(ContentTypeError, match=r"it is image/svg\+xml"):
            StoredObject(content_types=allowed).check(SVG)
    for allowed in (["image/*", "image/svg+xml"], ["*/*"]):
        assert StoredObject(content_types=allowed).check(SVG).content_type == "image/svg+xml"


@pytest.mark.parametrize("largest", [1000, 3_000_000, 50_000_000])
def test_a_body_of_ten_gigabytes_stops_at_the_limit(largest: int, session: Session, docs: WatchedBackend) -> None:
    class Sized(DeclarativeBase):
        pass

    class Upload(Sized):
        __tablename__ = "upload"
        id: Mapped[int] = mapped_column(primary_key=True)
        file: Mapped[FileObject] = mapped_column(StoredObject("docs", max_size=largest))

    pulled = 0

    def body() -> Iterator[bytes]:
        nonlocal pulled
        chunk = bytes(100_000)
        for _ in range(100_000):
            pulled += len(chunk)
            yield chunk

    session.add(Upload(file=FileObject(filename="x", content=body())))
    Sized.metadata.create_all(session.connection())
    with pytest.raises(FileTooLargeError) as refused:
        session.flush()
    assert pulled <= largest + 200_000
    assert refused.value.limit == largest
    assert isinstance(refused.value.actual, int)
    assert refused.value.actual > largest
    assert docs.paths == set()


# -- StoredObject.check ----------------------------------------------------------------------------------------------------


def test_check_returns_a_file_to_assign(session: Session, tmp_path: Path) -> None:
    kind = Album.__table__.c.cover.type
    upload = a_starlette_upload(PHOTO, tmp_path)
    for checked in (kind.check(upload), Album.cover.type.check(FileObject(filename="x.jpg", content=PHOTO))):
        assert isinstance(checked, FileObject)
        assert checked.content_type == "image/png"
        assert checked.has_pending_data
        session.add(Album(cover=checked))
        session.commit()
        assert checked.get_content() == PHOTO


def test_check_names_the_field_and_leaves_a_refused_file_alone() -> None:
    Album()  # which configures the mapping
    file = FileObject(filename="x.png", content=HTML)
    with pytest.raises(ContentTypeError) as refused:
        Album.cover.type.check(file)
    assert refused.value.field == "cover"
    assert (file.content_type, file.has_pending_data) == ("image/png", True)
    with pytest.raises(ContentTypeError, match=r"^picture: "):
        Album.cover.type.check(HTML, field="picture")


async def test_check_looks_at_all_of_a_stream(session: Session, docs: WatchedBackend) -> None:
    async def slowly(data: bytes) -> Any:
        for byte in range(0, len(data), 50):
            yield data[byte : byte + 50]

    kind = Album.cover.type
    for checked in (kind.check(iter([PHOTO[:9], PHOTO[9:]])), await kind.check_async(slowly(PHOTO))):
        assert (checked.size, checked.content_type) == (len(PHOTO), "image/png")
        album = Album(cover=checked)
        session.add(album)
        session.commit()
        assert checked.get_content() == PHOTO
    with pytest.raises(FileTooLargeError):
        kind.check(iter([bytes(1500), bytes(1500)]))
    with pytest.raises(DimensionsError):
        await kind.check_async(slowly(BOMB))
    with pytest.raises(ContentError, match="check_async"):
        kind.check(slowly(PHOTO))


def test_check_is_for_files_that_are_not_stored_yet(docs: WatchedBackend) -> None:
    with pytest.raises(FileStateError, match="no content to check"):
        Album.cover.type.check(FileObject("docs", "x", content=PHOTO).save())
    with pytest.raises(ContentError):
        Album.cover.type.check("text")


def test_a_type_that_two_columns_share_names_neither() -> None:
    class Other(DeclarativeBase):
        pass

    shared = StoredObject("docs", max_size=1)

    class Pair(Other):
        __tablename__ = "pair"
        id: Mapped[int] = mapped_column(primary_key=True)
        one: Mapped[FileObject] = mapped_column(shared)
        two: Mapped[FileObject] = mapped_column(shared)

    Pair()
    with pytest.raises(FileTooLargeError, match=r"^file: "):
        shared.check(b"12")
    with pytest.raises(FileTooLargeError, match=r"^two: "):
        Pair(two=FileObject(content=b"12"))


# -- the type itself -------------------------------------------------------------------------------------------------------


def test_rules_are_written_into_migrations() -> None:
    column = StoredObject(
        "docs", max_size="1 MB", content_types=["image/*"], max_pixels=5, min_width=1, max_width=4, min_height=2, max_height=3,
        validators=[lambda head, facts: None],
    )  # fmt: skip
    written = repr(column)
    assert written == (
        "StoredObject('docs', max_size=1000000, content_types=['image/*'], max_pixels=5, min_width=1, max_width=4, "
        "min_height=2, max_height=3)"
    )
    again = eval(written)
    assert repr(again) == written
    assert again.rules("f") == column.rules("f")._replace(validators=())


class Unhashable:
    __hash__ = None  # type: ignore[assignment]

    def __call__(self, head: bytes, facts: object) -> None:
        pass


def test_a_column_with_rules_can_still_be_cached() -> None:
    def column(**rules: Any) -> Any:
        return StoredObject("docs", content_types=["image/*"], **rules)._static_cache_key

    assert hash(column(max_pixels=5)) == hash(column(max_pixels=5))
    assert column(max_pixels=5) == column(max_pixels=6)  # no SQL depends on them
    assert column(validators=[Unhashable()]) == column(validators=[lambda head, facts: None])
    hash(column(validators=[Unhashable()]))


def test_errors_of_rules_survive_a_process_boundary() -> None:
    with pytest.raises(DimensionsError) as refused:
        Album(cover=FileObject(filename="x.png", content=BOMB))
    again = pickle.loads(pickle.dumps(refused.value))
    assert (again.field, again.limit, again.actual) == ("cover", 1_000_000, 2_500_000_000)
    assert str(again) == str(refused.value)
