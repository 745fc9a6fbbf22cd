"""Width, height and stored variants in documents, on their way in and out."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from typing import Any

import pytest
from PIL import Image
from sqlalchemy import JSON, Engine, column, create_engine, select, table, text, update
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from filerow import FileObject, StoredObject, storages
from filerow.exceptions import DocumentError
from filerow.variants import Thumbnail
from tests.variants.pictures import four_colours, saved

THUMB = Thumbnail(20, 20)
IDS = ["0" * 32, "f" * 32]
SECRET = "0b7Q-ybv9xJwPz_4KfRt2LmHsUe6GdNc"


class Base(DeclarativeBase):
    pass


class Shot(Base):
    __tablename__ = "shot"
    id: Mapped[int] = mapped_column(primary_key=True)
    photo: Mapped[FileObject | None] = mapped_column(StoredObject("photos", variants={"thumb": THUMB}))
    raw: Mapped[FileObject | None] = mapped_column(
        StoredObject("photos", max_pixels=1_000_000, image_size="stored", max_height=50)
    )
    plain: Mapped[FileObject | None] = mapped_column(StoredObject("photos"))


def portrait(width: int = 80, height: int = 40) -> bytes:
    """A photo that a camera took on its side: 80 x 40 pixels, shown as 40 x 80."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return saved(four_colours(width, height), "JPEG", exif=exif)


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    if request.param == "sqlite":
        made = create_engine("sqlite://")
        yield made
        made.dispose()
        return
    name, driver = ("postgres_server", "psycopg") if request.param == "postgresql" else ("mariadb_server", "pymysql")
    server = request.getfixturevalue(name)
    database = server.make_database()
    made = create_engine(database.url(driver))
    yield made
    made.dispose()
    server.drop_database(database)


@pytest.fixture(autouse=True)
def photos() -> Iterator[None]:
    storages.register_backend("memory://", key="photos")
    yield
    storages.clear_backends()


def test_width_and_height_can_be_queried(engine: Engine) -> None:
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        for number, size in enumerate([(80, 40), (9, 40), (1200, 40)], 1):
            session.add(Shot(id=number, photo=FileObject(filename="a.png", content=saved(four_colours(*size)))))
        session.add(Shot(id=4, photo=FileObject(filename="a.txt", content=b"text")))
        session.add(Shot(id=5))
        session.commit()
        old = {"v": 1, "backend": "photos", "path": "a/b.png", "filename": "b.png", "content_type": "image/png", "size": 5}
        rows = table("shot", column("id"), column("photo", JSON))
        session.execute(update(rows).where(rows.c.id == 5).values(photo=old))
        session.commit()
        assert set(session.scalars(select(Shot.id).where(Shot.photo.width > 70))) == {1, 3}
        assert set(session.scalars(select(Shot.id).where(Shot.photo.height == 40).order_by(Shot.photo.width))) == {1, 2, 3}
        assert list(session.scalars(select(Shot.id).where(Shot.photo.height == 40).order_by(Shot.photo.width))) == [2, 1, 3]
        assert set(session.scalars(select(Shot.id).where(Shot.photo.width.is_(None)))) == {4, 5}
        known = {shot.id: (shot.photo.width, shot.photo.height) for shot in session.scalars(select(Shot)) if shot.photo}
        assert known == {1: (80, 40), 2: (9, 40), 3: (1200, 40), 4: (None, None), 5: (None, None)}


def stored(**files: FileObject) -> dict[str, Any]:
    """Return the documents of a committed row."""
    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        session.add(Shot(id=1, **files))
        session.commit()
        found = session.execute(text(f"SELECT {', '.join(files)} FROM shot")).one()
    engine.dispose()
    return {name: json.loads(document) for name, document in zip(files, found, strict=True)}


def picture(content: bytes, name: str = "a.jpg") -> FileObject:
    return FileObject(filename=name, content=content)


def test_portrait_is_measured_as_it_is_shown() -> None:
    found = stored(photo=picture(portrait()), raw=picture(portrait()), plain=picture(portrait()))
    assert (found["photo"]["width"], found["photo"]["height"]) == (40, 80)
    assert (found["raw"]["width"], found["raw"]["height"]) == (40, 80)  # whose limits mean the stored 80 x 40
    assert not {"width", "height", "variants"} & found["plain"].keys()


def test_size_is_known_from_the_assignment_on() -> None:
    shot = Shot(photo=picture(portrait()))
    assert shot.photo is not None
    assert (shot.photo.width, shot.photo.height) == (40, 80)
    checked = Shot.photo.type.check(portrait())
    assert (checked.width, checked.height) == (40, 80)


def test_size_of_another_column_is_not_believed() -> None:
    """Only the column that stores a file knows whether it measures."""
    checked = Shot.photo.type.check(portrait())
    assert not {"width", "height"} & stored(plain=checked)["plain"].keys()


def test_replaced_facts_keep_size_and_variants() -> None:
    file = FileObject.from_dict(document(variants=IDS, width=40, height=80))
    assert file.replace(filename="b.jpg").to_dict() == document(variants=IDS, width=40, height=80, filename="b.jpg")
    assert pickle.loads(pickle.dumps(file)).to_dict() == file.to_dict()


GENERATED = "shot/photo/0190aaaaaaaa7000800000000000abcd.jpg"


def document(**more: Any) -> dict[str, Any]:
    known = {"v": 1, "backend": "photos", "path": GENERATED, "filename": "a.jpg", "content_type": "image/jpeg", "size": 3}
    facts: dict[str, Any] = {
        "checksum": "sha256:" + "0" * 64,
        "etag": "abc",
        "version_id": None,
        "last_modified": 1.5,
        "metadata": {},
    }
    return {**known, **facts, **more}


@pytest.mark.parametrize("more", [{}, {"version_id": "7"}, {"metadata": {"a": 1}}, {"variants": IDS}])
def test_reference_carries_size_and_variants(more: dict[str, Any]) -> None:
    file = FileObject.from_dict(document(width=40, height=80, **more))
    opened = FileObject.from_reference(file.to_reference(secret=SECRET), secret=SECRET)
    assert opened.to_dict() == file.to_dict()


def test_copy_of_a_file_keeps_its_size() -> None:
    file = picture(portrait())
    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        session.add(shot := Shot(photo=file))
        session.commit()
        assert shot.photo is not None
        copy = shot.photo.copy()
        assert (copy.width, copy.height, copy.path != shot.photo.path) == (40, 80, True)
    engine.dispose()


HOSTILE: dict[str, Any] = {
    "width": [-5, 0, True, 4.5, "80", [80], {}],
    "height": [-1, False, "x"],
    "variants": ["abc", {"a": 1}, 7, True],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in HOSTILE.items() for value in values])
def test_impossible_facts_of_an_image_are_refused(name: str, value: object) -> None:
    with pytest.raises(DocumentError, match=f"the {name} of a file cannot be"):
        FileObject.from_dict(document(**{"width": 1, "height": 1, name: value}))


@pytest.mark.parametrize("name", HOSTILE)
def test_documents_of_other_libraries_may_say_so(name: str) -> None:
    """They mean something else by it, which nobody reads here."""
    value = HOSTILE[name][0]
    file = FileObject.from_dict({"backend": "photos", "filename": "a.jpg", "size": 3, name: value})
    assert (file.width, file.height) == (None, None)


def test_half_a_size_is_none() -> None:
    file = FileObject.from_dict(document(width=40))
    assert (file.width, file.height) == (None, None)


def test_null_is_nothing() -> None:
    file = FileObject.from_dict(document(width=None, height=None, variants=None))
    assert (file.width, file.height) == (None, None)
    assert file.to_dict() == document()


def test_fields_of_a_later_release_survive_beside_those_here() -> None:
    given = document(width=40, height=80, variants=IDS, blur="LKO2")
    del given["metadata"]
    file = FileObject.from_dict(given)
    assert (file.width, file.replace(filename="b.jpg").to_dict()["blur"]) == (40, "LKO2")


def test_a_million_ids_are_read_and_looked_through() -> None:
    file = FileObject.from_dict(document(width=40, height=80, variants=[f"{number:032x}" for number in range(1_000_000)]))
    assert file.variant(THUMB).path.startswith("_filerow/variants/")
    assert len(file.to_dict()["variants"]) == 1_000_000


def test_strange_ids_are_left_out() -> None:
    file = FileObject.from_dict(document(variants=[*IDS, 7, None, ["a"]]))
    assert file.to_dict()["variants"] == IDS
