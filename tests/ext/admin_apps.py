"""The applications of the admin tools, and a client that fills their forms in as a browser does."""

from __future__ import annotations

import gc
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from sqlalchemy import Engine, ForeignKey, create_engine
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship
from sqlalchemy.pool import NullPool

from filerow import FileObject, FileObjectList, Inspection, StoredObject, storages, whole_content
from filerow.backends.local import LocalBackend
from filerow.exceptions import FileValidationError
from filerow.variants import Resize
from tests.ext.running import serving_asgi, serving_wsgi
from tests.ext.world import SECRET

UNCLOSED = pytest.mark.filterwarnings("ignore:Unclosed file <tempfile.SpooledTemporaryFile:ResourceWarning")
"""SQLAdmin and starlette-admin leave a form's uploads to the garbage collector."""

TOOLS = ("sqladmin", "sqladmin-async", "starlette-admin", "starlette-admin-async", "flask-admin")
THOROUGH = ("sqladmin", "starlette-admin-async")
Upload = tuple[str, bytes]

meanwhile: list[Callable[[], None]] = []
"""What happens while the next page is checked."""


def let_others(head: bytes, facts: Inspection) -> None:
    """Let others work meanwhile; a validator."""
    while meanwhile:
        meanwhile.pop()()


@whole_content
def refuse_viruses(chunks: Iterator[bytes], facts: Inspection) -> None:
    """Refuse a file by what it ends with."""
    if b"".join(chunks).endswith(b"virus"):
        raise FileValidationError("this is a virus", field=facts.field)


class Base(DeclarativeBase):
    pass


class Book(Base):
    __tablename__ = "book"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    cover: Mapped[FileObject] = mapped_column(StoredObject("books", max_size="2 kB", content_types=["image/*"]))
    file: Mapped[FileObject | None] = mapped_column(
        StoredObject("books", validators=[refuse_viruses], variants={"w80": Resize(width=80), "w40": Resize(width=40)})
    )
    pages: Mapped[FileObjectList] = mapped_column(StoredObject("books", multiple=True, max_size=1000, validators=[let_others]))
    seal: Mapped[FileObject | None] = mapped_column(
        StoredObject("books", variants={"w20": Resize(width=20)}, make_variants="commit")
    )


class Shelf(Base):
    __tablename__ = "shelf"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    boxes: Mapped[list[Box]] = relationship(back_populates="shelf")


class Box(Base):
    __tablename__ = "box"
    id: Mapped[int] = mapped_column(primary_key=True)
    shelf_id: Mapped[int] = mapped_column(ForeignKey("shelf.id"))
    shelf: Mapped[Shelf] = relationship(back_populates="boxes")
    label: Mapped[FileObject] = mapped_column(StoredObject("books", max_size=10))
    papers: Mapped[FileObjectList] = mapped_column(StoredObject("books", multiple=True))


class _Page(HTMLParser):
    """The inputs of a page's form, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.inputs: list[dict[str, str | None]] = []
        self.images: list[str] = []
        self.links: list[str] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        known = dict(attrs)
        if tag == "input" and known.get("name"):
            self.inputs.append(known)
        if tag == "img":
            self.images.append(known["src"] or "")
        if tag == "a":
            self.links.append(known.get("href") or "")

    def handle_data(self, data: str) -> None:
        self.text += data


@dataclass
class Form:
    """A form that was opened, to be filled in and sent.

    Attributes:
        page: The page that it is in.
        values: What its text and hidden inputs say, as pairs.
        uploads: The files chosen, by the id of their inputs.
    """

    client: httpx.Client
    url: str
    page: _Page
    values: list[tuple[str, str]] = field(default_factory=list)
    uploads: dict[str, list[Upload]] = field(default_factory=dict)

    def fill(self, **texts: str) -> Form:
        self.values = [(name, texts.get(name, value)) for name, value in self.values]
        return self

    def upload(self, **files: Upload | list[Upload]) -> Form:
        self.uploads.update({name: chosen if isinstance(chosen, list) else [chosen] for name, chosen in files.items()})
        return self

    def check(self, name: str, value: str = "on") -> Form:
        assert any((one["name"], one.get("value")) == (name, value) for one in self.page.inputs if one.get("type") == "checkbox")
        self.values.append((name, value))
        return self

    def marks(self, name: str) -> list[str]:
        return [value for key, value in self.values if key == f"{name}-file"]

    def order(self, name: str, marks: list[str]) -> Form:
        self.values = [pair for pair in self.values if pair[0] != f"{name}-file"]
        self.values += [(f"{name}-file", mark) for mark in marks]
        return self

    def place(self, name: str, positions: list[str]) -> Form:
        self.values = [pair for pair in self.values if pair[0] != f"{name}-position"]
        self.values += [(f"{name}-position", position) for position in positions]
        return self

    def send(self) -> httpx.Response:
        files: list[Any] = [(name, (None, value)) for name, value in self.values]
        for one in self.page.inputs:
            if one.get("type") == "file":
                chosen = self.uploads.get(str(one["id"])) or [("", b"")]  # as browsers send an empty input
                files += [(one["name"], (name, data, "application/octet-stream")) for name, data in chosen]
        return self.client.post(self.url, files=files)


class Places(NamedTuple):
    """Where a tool has its pages."""

    create: str
    edit: str
    detail: str
    list: str


PLACES = {
    "sqladmin": Places("/admin/book/create", "/admin/book/edit/{}", "/admin/book/details/{}", "/admin/book/list"),
    "starlette-admin": Places("/admin/book/create", "/admin/book/edit?pk={}", "/admin/book/detail?pk={}", "/admin/book/list"),
    "flask-admin": Places("/admin/book/new/", "/admin/book/edit/?id={}", "/admin/book/details/?id={}", "/admin/book/"),
}


@dataclass
class Admin:
    """A running application with an admin.

    Attributes:
        tool: The admin tool.
        url: Where it is served.
        client: Asks it.
        engine: Its database.
        backend: Where its files are.
    """

    tool: str
    url: str
    client: httpx.Client
    engine: Engine
    backend: LocalBackend

    @property
    def places(self) -> Places:
        return PLACES[self.tool.removesuffix("-async")]

    def form(self, row: int | str | None = None) -> Form:
        """Open the form of a row, or of a new one, or that at a URL."""
        url = row if isinstance(row, str) else self.places.create if row is None else self.places.edit.format(row)
        page = self.page(url)
        form = Form(self.client, url, page)
        for one in page.inputs:
            if one.get("type", "text") in {"text", "hidden", "number"}:
                form.values.append((str(one["name"]), one.get("value") or ""))
        return form

    def page(self, url: str) -> _Page:
        answer = self.client.get(url)
        assert answer.status_code == 200, answer.text
        return _Page(answer.text)

    def add(self, **columns: Any) -> int:
        with Session(self.engine) as session:
            given = {"name": "made by the test", "cover": FileObject(filename="cover.png", content=PNG), **columns}
            session.add(book := Book(**given))
            session.commit()
            return book.id

    def book(self, number: int) -> Book:
        with Session(self.engine, expire_on_commit=False) as session:
            return session.get_one(Book, number)

    def newest(self) -> Book:
        with Session(self.engine, expire_on_commit=False) as session:
            return session.query(Book).order_by(Book.id.desc()).limit(1).one()

    def count(self) -> int:
        with Session(self.engine) as session:
            return session.query(Book).count()

    def paths(self) -> set[str]:
        return {info.path for info in self.backend.list()}


PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d494844520000000100000001080600000"
    "01f15c4890000000d49444154789c6360000002000001e221bc33000000004945"
    "4e44ae426082"
)


def errors_in(answer: httpx.Response) -> list[str]:
    """Return the messages that a page shows at fields."""
    found = re.findall(r'class="invalid-feedback"[^>]*>(.*?)</div>', answer.text, re.DOTALL)
    return [text for one in found if (text := re.sub(r"<[^>]*>|\s+", " ", one).strip())]


@contextmanager
def serving(tool: str, folder: Path, wrap: Callable[[Any], Any] = lambda app: app) -> Iterator[Admin]:
    """Serve an application with an admin, or what ``wrap`` makes of it."""
    storages.clear_backends()
    backend = LocalBackend("books", folder / "files", fsync=False, base_url="/files", secret=SECRET)
    storages.register_backend(backend)
    database = folder / "rows.db"
    engine = create_engine(f"sqlite:///{database}", poolclass=NullPool)
    Base.metadata.create_all(engine)
    used: Any = create_async_engine(f"sqlite+aiosqlite:///{database}", poolclass=NullPool) if "async" in tool else engine
    app = {"sqladmin": _sqladmin, "starlette": _starlette_admin, "flask": _flask_admin}[tool.partition("-")[0]](used)
    serve = serving_wsgi if tool == "flask-admin" else serving_asgi
    with serve(wrap(app)) as url, httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
        yield Admin(tool, url, client, engine, backend)
    engine.dispose()
    if tool == "flask-admin":
        with app.app_context():
            app.extensions["sqlalchemy"].engine.dispose()  # Flask-SQLAlchemy has made its own
    storages.clear_backends()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # UNCLOSED
        gc.collect()


def without_inline_scripts(app: Any) -> Any:
    """Return an application whose pages forbid scripts but those of its own files."""
    policy = "script-src 'self'"
    if hasattr(app, "wsgi_app"):
        return lambda environ, start: app(
            environ, lambda status, headers, *more: start(status, [*headers, ("Content-Security-Policy", policy)], *more)
        )

    async def limited(scope: Any, receive: Any, send: Any) -> None:
        async def sent(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"content-security-policy", policy.encode())]
            await send(message)

        await app(scope, receive, sent)

    return limited


def in_litestar(app: Any) -> Any:
    """Return an application of Litestar with another one as its admin, as docs/admin.md mounts it."""
    from litestar import Litestar, asgi
    from litestar.types import Receive, Scope, Send

    from filerow.ext.litestar import install, routes

    @asgi("/admin", is_mount=True, copy_scope=True)
    async def admin(scope: Scope, receive: Receive, send: Send) -> None:
        path = "/admin" + (scope["path"].rstrip("/") or "/")
        await app({**scope, "path": path}, receive, send)

    return Litestar([admin, routes("/files")], plugins=[install()])


def _sqladmin(engine: Any) -> Any:
    from fastapi import FastAPI
    from sqladmin import Admin as Tool

    from filerow.ext.fastapi import routes
    from filerow.ext.sqladmin import ModelView

    class BookAdmin(ModelView, model=Book):
        column_list = "__all__"
        save_as = True

    app = FastAPI()
    app.include_router(routes("/files"))
    Tool(app, engine).add_view(BookAdmin)
    return app


def _starlette_admin(engine: Any) -> Any:
    from starlette.applications import Starlette
    from starlette_admin.contrib.sqla import Admin as Tool
    from starlette_admin.contrib.sqla import InlineModelView, ModelView

    import filerow.ext.starlette_admin  # noqa: F401 - importing it is enough
    from filerow.ext.starlette import routes

    class BoxInline(InlineModelView):
        model = Box  # type: ignore[misc]  # its own types forbid what it documents
        fields: Any = ["id", "label", "papers"]
        extra = 1

    class ShelfView(ModelView):
        fields: Any = ["id", "name"]
        inlines = [BoxInline]

    app = Starlette(routes=routes("/files"))
    tool = Tool(engine, secret_key="for a test")
    tool.add_view(ModelView(Book))
    tool.add_view(ShelfView(Shelf))
    tool.mount_to(app)
    return app


def _flask_admin(engine: Engine) -> Any:
    from flask import Flask
    from flask_admin import Admin as Tool
    from flask_sqlalchemy import SQLAlchemy

    from filerow.ext.flask import routes
    from filerow.ext.flask_admin import ModelView

    class BookView(ModelView):
        can_view_details = can_export = True

    app = Flask(__name__)
    app.config.update(SECRET_KEY="for a test", SQLALCHEMY_DATABASE_URI=str(engine.url))
    app.register_blueprint(routes("/files"))
    Tool(app).add_view(BookView(Book, SQLAlchemy(app, model_class=Base)))
    return app
