"""Two applications whose file route refuses uploads: by the URL, by the length, as taken, or as one too many."""

from __future__ import annotations

from flask import Flask
from starlette.applications import Starlette

from filerow import storages
from filerow.ext import flask, starlette
from filerow.http import upload_capacity
from tests.execution.refused import CROWDED, make_backend

backend = make_backend()
backend.put("taken.txt", b"somebody's")
storages.register_backend(backend)
upload_capacity._under_way["docs", "other.txt"] = upload_capacity.staged_bytes - CROWDED + 1

asgi = Starlette(routes=starlette.routes("/files"))
wsgi = Flask(__name__)
wsgi.register_blueprint(flask.routes("/files"))
