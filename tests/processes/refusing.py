"""Two applications whose file route refuses every upload."""

from __future__ import annotations

from flask import Flask
from starlette.applications import Starlette

from filerow import storages
from filerow.backends.memory import MemoryBackend
from filerow.ext.flask import Filerow
from filerow.ext.starlette import routes

storages.register_backend(MemoryBackend("docs", base_url="/files", secret="a secret of these tests, and no other"))

asgi = Starlette(routes=routes("/files"))
wsgi = Flask(__name__)
Filerow(wsgi)
