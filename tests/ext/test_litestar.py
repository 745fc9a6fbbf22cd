"""What only Litestar has: DTOs, structs of three kinds, plugins beside ours, and what a mistake in the set-up says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, make_dataclass
from pathlib import Path
from typing import Annotated, Any

import httpx
import msgspec
import pytest
from advanced_alchemy.extensions.litestar import (
    SQLAlchemyAsyncConfig,
    SQLAlchemyDTO,
    SQLAlchemyDTOConfig,
    SQLAlchemyPlugin,
)
from litestar import Controller, Litestar, Request, Response, Router, get, post
from litestar.di import NamedDependency
from litestar.dto import DataclassDTO, DTOConfig, DTOData, MsgspecDTO
from litestar.enums import RequestEncodingType
from litestar.exceptions import NotFoundException
from litestar.params import Body
from litestar.plugins.pydantic import PydanticDTO
from pydantic import BaseModel, create_model
from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from filerow import FileObject, FileObjectList, Inspection, StoredObject, storages
from filerow.exceptions import FileStateError, FileTooLargeError
from filerow.ext.litestar import FileDTO, StoredFileResponse, Uploaded, install, routes
from tests.examples import GUIDE_RUNS
from tests.ext.world import LIMIT, Document, World

MULTIPART = Body(media_type=RequestEncodingType.MULTI_PART)
VIEW = {"filename": "a.txt", "content_type": "text/plain", "size": 3, "metadata": {}}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Rows and files of one test."""
    made = World.make(tmp_path)
    yield made
    made.engine.dispose()
    storages.clear_backends()


async def ask(app: Litestar, method: str, path: str, **how: Any) -> httpx.Response:
    async with app.lifespan(), httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        return await client.request(method, path, **how)


@dataclass
class InDataclass:
    name: str
    file: FileObject
    pages: FileObjectList
    others: list[FileObject] = field(default_factory=list)
    cover: FileObject | None = None


class InStruct(msgspec.Struct):
    name: str
    file: FileObject
    pages: FileObjectList
    others: list[FileObject] = []
    cover: FileObject | None = None


class InModel(BaseModel):
    name: str
    file: FileObject
    pages: FileObjectList
    others: list[FileObject] = []
    cover: FileObject | None = None


class DataclassFilesDTO(FileDTO, DataclassDTO[InDataclass]):
    """Litestar's for dataclasses."""


class StructFilesDTO(FileDTO, MsgspecDTO[InStruct]):
    """Litestar's for structs."""


class ModelFilesDTO(FileDTO, PydanticDTO[InModel]):
    """Litestar's for pydantic."""


class DocumentDTO(FileDTO, SQLAlchemyDTO[Annotated[Document, SQLAlchemyDTOConfig(exclude={"id", "big"})]]):
    """Advanced Alchemy's for mapped classes."""


KINDS: list[tuple[type[Any], Any]] = [
    (InDataclass, None),
    (InStruct, None),
    (InModel, None),
    (InDataclass, DataclassFilesDTO),
    (InStruct, StructFilesDTO),
    (InModel, ModelFilesDTO),
    (Document, DocumentDTO),
    (InDataclass, DataclassDTO[InDataclass]),
    (InStruct, MsgspecDTO[InStruct]),
    (InModel, PydanticDTO[InModel]),
    (Document, SQLAlchemyDTO[Annotated[Document, SQLAlchemyDTOConfig(exclude={"id", "big"})]]),
]
IDS = [f"{kind.__name__}-{dto.__name__.partition('[')[0] if dto else 'plain'}" for kind, dto in KINDS]


_apps: list[Litestar] = []
"""All applications: Litestar finds the backend of a DTO by the ids of a handler's objects, which must not be used again."""


def app_of(kind: type[Any], dto: Any) -> Litestar:
    """Return an application that gives back what it was given."""
    given = {} if dto is None else {"dto": dto, "return_dto": dto}

    async def form(data: Any) -> Any:
        return data

    async def body(data: Any) -> Any:
        return data

    form.__annotations__ = {"data": Annotated[kind, MULTIPART], "return": kind}
    body.__annotations__ = {"data": Annotated[kind, Body()], "return": kind}
    _apps.append(Litestar([post("/form", **given)(form), post("/json", **given)(body)], plugins=[install()]))
    return _apps[-1]


def view_of(shown: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in shown.items() if name != "last_modified"}


@pytest.mark.parametrize(("kind", "dto"), KINDS, ids=IDS)
async def test_files_come_in_from_a_form_and_go_out_as_their_view(world: World, kind: type[Any], dto: Any) -> None:
    upload = ("a.txt", b"abc", "text/plain")
    files = [("file", upload), ("pages", upload), ("others", upload), ("others", upload)]
    answer = await ask(app_of(kind, dto), "POST", "/form", data={"name": "n"}, files=files)
    assert answer.status_code == 201, answer.text
    shown = answer.json()
    assert (shown["name"], view_of(shown["file"])) == ("n", VIEW)
    assert [view_of(page) for page in shown["pages"]] == [VIEW]
    if kind is not Document:
        assert [view_of(other) for other in shown["others"]] == [VIEW, VIEW]
        assert shown.get("cover") is None


def form_of(**parts: str | None) -> dict[str, Any]:
    """Return a form as browsers send it: ``None`` is a file input in which nothing was chosen."""
    lines = []
    for name, text in parts.items():
        file = '; filename=""\r\nContent-Type: application/octet-stream' if text is None else ""
        file = '; filename="a.txt"\r\nContent-Type: text/plain' if text == "abc" else file
        lines.append(f'--x\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n{text or ""}\r\n')
    return {"content": "".join([*lines, "--x--\r\n"]), "headers": {"content-type": "multipart/form-data; boundary=x"}}


@pytest.mark.parametrize("kind", [InDataclass, InStruct, InModel, InDataclass | None])
async def test_empty_file_input_is_not_a_file(world: World, kind: Any) -> None:
    app = app_of(kind, None)
    answer = await ask(app, "POST", "/form", **form_of(name="", file="abc", pages=None, cover=None))
    assert answer.status_code == 201, answer.text
    shown = answer.json()
    assert (shown["name"], shown["pages"], shown["cover"]) == ("", [], None)
    assert view_of(shown["file"]) == VIEW
    answer = await ask(app, "POST", "/form", **form_of(name="n", file="abc", pages="abc", cover="abc"))
    assert view_of(answer.json()["cover"]) == VIEW
    assert (await ask(app, "POST", "/form", **form_of(name="n", file=None, pages=None))).status_code == 400


async def test_what_is_needed_and_was_left_empty_is_asked_for(world: World) -> None:
    answer = await ask(app_of(InDataclass, None), "POST", "/form", **form_of(name="n", file=None, pages=None))
    assert answer.json()["extra"] == [{"message": "a file is needed", "key": "file", "source": "body"}]


async def test_before_request_hook_of_the_application_still_runs(world: World) -> None:
    @dataclass
    class Form:
        cover: FileObject | None = None

    async def handler(data: Any) -> Any:
        return data

    handler.__annotations__ = {"data": Annotated[Form, MULTIPART], "return": Form}

    def stop(request: Request[Any, Any, Any]) -> dict[str, str]:
        return {"stopped": request.url.path}

    for where in ({"before_request": stop}, {}):
        app = Litestar([post("/", **where)(handler)], plugins=[install()], before_request=None if where else stop)
        assert (await ask(app, "POST", "/", **form_of(cover=None))).json() == {"stopped": "/"}


@pytest.mark.parametrize(("kind", "dto"), KINDS, ids=IDS)
async def test_document_from_a_client_is_refused_with_helpful_words(world: World, kind: type[Any], dto: Any) -> None:
    file = world.stored(file=FileObject(filename="a.txt", content=b"abc")).file
    assert file
    for stolen in ({"file": file.to_dict(), "pages": []}, {"file": None, "pages": [file.to_dict()]}, {"file": "x", "pages": []}):
        answer = await ask(app_of(kind, dto), "POST", "/json", json={"name": "n", **stolen})
        assert answer.status_code == 400, answer.text
        assert "from_upload" in answer.text or stolen["file"] is None


@pytest.mark.parametrize("dto", [DataclassFilesDTO, DocumentDTO])
async def test_a_form_that_does_not_fit_a_dto_is_the_client_s_fault(world: World, dto: Any) -> None:
    kind = Document if dto is DocumentDTO else InDataclass
    answer = await ask(app_of(kind, dto), "POST", "/form", data={"name": "n"}, files={"pages": ("a.txt", b"abc")})
    assert answer.status_code == (400 if kind is InDataclass else 201), answer.text


@dataclass
class WithoutPages:
    name: str
    pages: FileObjectList | None = None


class WithoutPagesDTO(FileDTO, DataclassDTO[WithoutPages]):
    """A list that may be missing."""


async def test_a_list_of_files_that_may_be_missing_passes_a_dto(world: World) -> None:
    app = app_of(WithoutPages, WithoutPagesDTO)
    for count in (0, 1, 2):
        files = [("name", (None, b"given")), *(("pages", (f"{n}.txt", b"abc", "text/plain")) for n in range(count))]
        answer = await ask(app, "POST", "/form", files=files)
        assert answer.status_code == 201, answer.text
        names = [page["filename"] for page in answer.json()["pages"] or ()]
        assert names == [f"{number}.txt" for number in range(count)]


async def test_a_list_of_files_needs_the_plugin_or_file_dto(world: World) -> None:
    # the trouble that FileDTO is for; when Litestar learns it, FileDTO can go
    async def take(data: Any) -> None: ...

    take.__annotations__ = {"data": Annotated[InDataclass, MULTIPART], "return": None}
    with pytest.raises(TypeError, match="not subscriptable"):
        Litestar([post("/", dto=DataclassDTO[InDataclass])(take)])


BASES: dict[str, tuple[Any, Any]] = {
    "dataclass": (DataclassDTO, InDataclass),
    "struct": (MsgspecDTO, InStruct),
    "model": (PydanticDTO, InModel),
    "mapped": (SQLAlchemyDTO, Document),
}


def narrowed(kind: str, **config: Any) -> tuple[Any, Any]:
    """Return a model and Litestar's own DTO for it."""
    base, model = BASES[kind]
    how = SQLAlchemyDTOConfig(exclude={"id", "big"}, **config) if model is Document else DTOConfig(**config)
    return model, base[Annotated[model, how]]


@pytest.mark.parametrize("kind", BASES)
async def test_empty_file_input_is_not_a_file_for_a_dto(world: World, kind: str) -> None:
    model, dto = narrowed(kind)
    optional = "file" if model is Document else "cover"
    given = {"name": "n", "file": "abc", "pages": None, optional: None}
    answer = await ask(app_of(model, dto), "POST", "/form", **form_of(**given))
    assert answer.status_code == 201, answer.text
    assert (answer.json()[optional], answer.json()["pages"]) == (None, [])


@pytest.mark.parametrize("kind", BASES)
async def test_a_renamed_list_takes_a_single_upload(world: World, kind: str) -> None:
    model, dto = narrowed(kind, rename_strategy="upper")
    answer = await ask(app_of(model, dto), "POST", "/form", **form_of(NAME="n", FILE="abc", PAGES="abc"))
    assert answer.status_code == 201, answer.text
    assert [view_of(page) for page in answer.json()["PAGES"]] == [VIEW]


async def test_a_list_column_may_be_missing_in_a_dto(world: World) -> None:
    answer = await ask(app_of(*narrowed("mapped")), "POST", "/form", **form_of(name="n", file="abc"))
    assert answer.status_code == 201, answer.text
    assert answer.json()["pages"] == []


async def test_an_empty_file_input_changes_nothing_in_a_partial_dto(world: World) -> None:
    _, dto = narrowed("mapped", partial=True)
    pages: Any = [FileObject(content=b"p")]
    row = world.stored(file=FileObject(filename="a.txt", content=b"abc"), pages=pages)

    async def change(data: Any) -> Any:
        with Session(world.engine, expire_on_commit=False) as session:
            found = data.update_instance(session.get_one(Document, row.id))
            session.commit()
            return {"name": found.name, "file": found.file, "pages": found.pages}

    change.__annotations__ = {"data": Annotated[DTOData[Document], MULTIPART], "return": dict[str, Any]}
    _apps.append(Litestar([post("/", dto=dto, return_dto=None)(change)], plugins=[install()]))
    answer = await ask(_apps[-1], "POST", "/", **form_of(name="new", file=None, pages=None))
    assert answer.status_code == 201, answer.text
    shown = answer.json()
    assert (shown["name"], shown["file"]["filename"], len(shown["pages"])) == ("new", "a.txt", 1)


@pytest.mark.parametrize("layer", ["handler", "controller", "router", "nested router", "application"])
async def test_a_dto_of_any_layer_takes_lists_of_files(world: World, layer: str) -> None:
    how: dict[str, Any] = {"dto": DataclassDTO[InDataclass], "return_dto": DataclassDTO[InDataclass]}

    async def take(self: Any, data: Any) -> Any:
        return data

    async def alone(data: Any) -> Any:
        return data

    take.__annotations__ = alone.__annotations__ = {"data": Annotated[InDataclass, MULTIPART], "return": InDataclass}
    handlers: list[Any] = [post("/")(alone)]
    if layer == "handler":
        handlers = [Router("/", route_handlers=[post("/", **how)(alone)])]
    elif layer == "controller":
        controller = type("Taking", (Controller,), {"path": "/", "take": post()(take), **how})
        handlers = [Router("/", route_handlers=[controller])]
    elif layer.endswith("router"):
        handlers = [Router("/", route_handlers=handlers, **how)]
        handlers = [Router("/", route_handlers=handlers)] if layer.startswith("nested") else handlers
    _apps.append(Litestar(handlers, plugins=[install()], **(how if layer == "application" else {})))
    answer = await ask(_apps[-1], "POST", "/", **form_of(name="n", file="abc", pages="abc"))
    assert answer.status_code == 201, answer.text
    assert [view_of(page) for page in answer.json()["pages"]] == [VIEW]
    body = _apps[-1].openapi_schema.to_schema()["components"]["schemas"]
    assert any(schema["properties"]["pages"]["type"] == "array" for schema in body.values() if "pages" in schema["properties"])


@dataclass
class Folder:
    """A model inside which are files."""

    inside: list[InDataclass]


async def test_a_dto_of_models_with_files_inside_shows_them(world: World) -> None:
    made = InDataclass("n", FileObject(filename="a.txt", content=b"abc").save(), FileObjectList())

    @get("/", return_dto=DataclassDTO[Folder])
    async def show() -> Folder:
        return Folder([made])

    _apps.append(Litestar([show], plugins=[install()]))
    assert view_of((await ask(_apps[-1], "GET", "/")).json()["inside"][0]["file"]) == VIEW


@pytest.mark.skipif(not GUIDE_RUNS, reason="an older Advanced Alchemy calls what Litestar has deprecated")
@pytest.mark.parametrize("ours_first", [True, False])
async def test_advanced_alchemy_s_dto_takes_models_with_lists_of_files(world: World, ours_first: bool) -> None:
    config = SQLAlchemyAsyncConfig(engine_instance=world.async_engine, before_send_handler="autocommit")

    async def create(data: Any, db_session: Any) -> Any:
        document = Document(name="n", file=data, pages=[FileObject(filename="p", content=b"p")])
        db_session.add(document)
        await db_session.flush()
        return document

    create.__annotations__ = {
        "data": Annotated[FileObject, MULTIPART],
        "db_session": NamedDependency[AsyncSession],
        "return": Document,
    }
    plugins: list[Any] = [SQLAlchemyPlugin(config), install()]
    app = Litestar([post("/")(create)], plugins=plugins[::-1] if ours_first else plugins)
    answer = await ask(app, "POST", "/", files={"file": ("a.txt", b"abc", "text/plain")})
    assert answer.status_code == 201, answer.text
    assert view_of(answer.json()["file"]) == VIEW
    assert [page["filename"] for page in answer.json()["pages"]] == ["p"]
    assert world.names() == ["n"]


async def uploaded_to(handler: Any, world: World) -> httpx.Response:
    """Upload a file to a handler whose session Advanced Alchemy commits."""
    config = SQLAlchemyAsyncConfig(engine_instance=world.async_engine, before_send_handler="autocommit")
    handler.__annotations__ = {
        "data": Annotated[FileObject, MULTIPART],
        "db_session": NamedDependency[AsyncSession],
        "return": None,
    }
    app = Litestar([post("/")(handler)], plugins=[SQLAlchemyPlugin(config), install()])
    return await ask(app, "POST", "/", files={"file": ("a.txt", b"abc", "text/plain")})


@pytest.mark.skipif(not GUIDE_RUNS, reason="an older Advanced Alchemy calls what Litestar has deprecated")
async def test_failed_flush_in_autocommit_handler_is_reported(world: World) -> None:
    async def create(data: Any, db_session: Any) -> None:
        upload = data.get_content()
        db_session.add(Document(name="kept?", pages=[FileObject(filename="fine", content=b"fine")]))
        await db_session.flush()
        assert world.paths()
        db_session.add(Document(name="n", file=FileObject(filename="late", content=(upload for _ in range(2000)))))
        await db_session.flush()

    answer = await uploaded_to(create, world)
    assert answer.status_code == 413, answer.text
    assert (world.names(), world.paths()) == ([], set())


@pytest.mark.skipif(not GUIDE_RUNS, reason="an older Advanced Alchemy calls what Litestar has deprecated")
async def test_failed_commit_in_autocommit_handler_is_not_reported(world: World) -> None:
    # why docs/frameworks.md asks for a flush; when Advanced Alchemy documents it, that warning can go
    async def create(data: Any, db_session: Any) -> None:
        upload = data.get_content()
        db_session.add(Document(name="n", file=FileObject(filename="late", content=(upload for _ in range(2000)))))

    answer = await uploaded_to(create, world)
    assert answer.status_code == 201
    assert (world.names(), world.paths()) == ([], set())


async def test_an_exception_handler_of_the_application_goes_first(world: World) -> None:
    @get("/")
    async def fail() -> None:
        raise FileTooLargeError("too large", field="file", limit=1, actual=2)

    def mine(_: Any, error: FileTooLargeError) -> Response[str]:
        return Response(f"mine: {error}", status_code=418)

    app = Litestar([fail], plugins=[install()], exception_handlers={FileTooLargeError: mine})
    answer = await ask(app, "GET", "/")
    assert (answer.status_code, answer.text) == (418, "mine: too large")


async def test_stored_file_goes_out_with_its_handler_s_headers(world: World) -> None:
    file = world.stored(file=FileObject(filename="a.txt", content=b"abc")).file
    assert file

    @get("/")
    async def show() -> StoredFileResponse:
        response = StoredFileResponse(file)
        response.set_cookie("seen", "yes")
        response.headers["X-Mine"] = "yes"
        return response

    answer = await ask(Litestar([show], plugins=[install()]), "GET", "/")
    assert (answer.content, answer.cookies["seen"], answer.headers["x-mine"]) == (b"abc", "yes", "yes")


async def test_error_of_a_handler_that_returns_a_file_is_reported(world: World) -> None:
    @get("/")
    async def show() -> StoredFileResponse:
        raise NotFoundException

    answer = await ask(Litestar([show], plugins=[install()]), "GET", "/")
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/json")


async def test_plugin_and_routes_serve_several_applications(world: World) -> None:
    plugin, mounted = install(), routes("/files")
    for _ in range(2):
        app = Litestar([mounted], plugins=[plugin])
        assert (await ask(app, "GET", "/files/filerow.js")).status_code == 200
        assert (await ask(app, "GET", "/files/docs/a.txt")).headers["content-type"] == "application/problem+json"


def _marked(kind: str) -> type[Any]:
    """Return a form whose files are checked by their columns' rules, as a dataclass, a struct or a pydantic model."""
    file = Annotated[FileObject, Uploaded(Document.file)]
    cover = Annotated[FileObject | None, Uploaded(Document.file)]
    pages = Annotated[FileObjectList, Uploaded(Document.pages)]
    if kind == "dataclass":
        empty = field(default_factory=FileObjectList)
        return make_dataclass("Form", [("file", file), ("cover", cover, None), ("pages", pages, empty)])
    if kind == "struct":
        return msgspec.defstruct("Form", [("file", file), ("cover", cover, None), ("pages", pages, FileObjectList())])
    return create_model("Form", file=(file, ...), cover=(cover, None), pages=(pages, FileObjectList()))


@pytest.mark.parametrize("kind", ["dataclass", "struct", "model"])
async def test_uploaded_file_is_checked_before_its_handler_runs(world: World, kind: str) -> None:
    ran = []

    async def take(data: Any) -> dict[str, Any]:
        ran.append(True)
        return {"names": [data.file.filename, data.cover and data.cover.filename, *(page.filename for page in data.pages)]}

    take.__annotations__ = {"data": Annotated[_marked(kind), MULTIPART], "return": dict[str, Any]}
    app = Litestar([post("/")(take)], plugins=[install()])
    upload, large = ("a.txt", b"abc", "text/plain"), ("b.txt", b"x" * (LIMIT + 1), "text/plain")
    for name in ("file", "cover", "pages"):
        files = [(key, upload) for key in ("file", "cover", "pages") if key != name or name == "pages"]
        answer = await ask(app, "POST", "/", files=[*files, (name, large)])
        assert (answer.status_code, answer.json()["field"], answer.json()["code"]) == (413, name, "file-too-large"), name
    assert not ran
    answer = await ask(app, "POST", "/", files=[("file", upload), ("pages", upload), ("pages", upload)])
    assert answer.json() == {"names": ["a.txt", None, "a.txt", "a.txt"]}
    assert (await ask(app, "POST", "/", files=[("file", upload), ("cover", upload)])).json() == {"names": ["a.txt", "a.txt"]}
    assert (await ask(app, "POST", "/", files=[("cover", upload)])).status_code == 400


async def test_whole_form_is_checked_by_one_column(world: World) -> None:
    async def take(data: Any) -> str:
        return str(data.filename)

    take.__annotations__ = {"data": Annotated[FileObject, MULTIPART, Uploaded(Document.file)], "return": str}
    app = Litestar([post("/", media_type="text/plain")(take)], plugins=[install()])
    answer = await ask(app, "POST", "/", files={"any": ("a.txt", b"x" * (LIMIT + 1), "text/plain")})
    assert (answer.status_code, answer.json()["field"]) == (413, "any")
    assert (await ask(app, "POST", "/", files={"any": ("a.txt", b"abc", "text/plain")})).text == "a.txt"


async def test_validators_of_an_uploaded_file_run_once(world: World) -> None:
    seen: list[str] = []

    def look(head: bytes, inspection: Inspection) -> None:
        seen.append(inspection.filename)

    class Base(DeclarativeBase):
        pass

    class Paper(Base):
        __tablename__ = "paper"
        id: Mapped[int] = mapped_column(primary_key=True)
        file: Mapped[FileObject] = mapped_column(StoredObject("docs", validators=[look]))

    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)

    @dataclass
    class Form:
        file: FileObject

    async def take(data: Any) -> None:
        with Session(engine) as session:
            session.add(Paper(file=data.file))
            session.commit()

    Form.__annotations__["file"] = Annotated[FileObject, Uploaded(Paper.file)]
    take.__annotations__ = {"data": Annotated[Form, MULTIPART], "return": None}
    answer = await ask(Litestar([post("/")(take)], plugins=[install()]), "POST", "/", files={"file": ("a.txt", b"abc")})
    assert answer.status_code == 201, answer.text
    engine.dispose()
    assert seen == ["a.txt"]


async def test_checked_uploads_are_closed_after_the_response(world: World) -> None:
    kept: list[FileObject] = []

    @dataclass
    class Form:
        file: FileObject

    async def take(data: Any) -> None:
        kept.append(data.file)

    Form.__annotations__["file"] = Annotated[FileObject, Uploaded(StoredObject("docs"))]
    take.__annotations__ = {"data": Annotated[Form, MULTIPART], "return": None}
    app = Litestar([post("/", request_max_body_size=None)(take)], plugins=[install()])
    await ask(app, "POST", "/", files={"file": ("a.bin", b"x" * 2_000_000)})
    with pytest.raises(FileStateError, match="has been closed"):
        kept[0].get_content()


def test_only_file_columns_are_uploaded() -> None:
    with pytest.raises(TypeError, match=r"Document\.file"):
        Uploaded(Document.name)
