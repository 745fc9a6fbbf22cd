"""An application that registers its backend when it is imported: for WSGI, for ASGI and for Celery."""

from __future__ import annotations

import os
import time
from typing import Any

from flask import Flask
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from tests.execution.stores import registered
from tests.execution.work import attach, attach_async, outcome

registered()
if os.environ.get("FILEROW_TEST_USED") == "1":
    attach()

PAUSE = 0.1
"""Seconds for which a request keeps its worker, so that another worker gets the next one."""

wsgi = Flask("site")


@wsgi.get("/attach")
def attach_here() -> dict[str, Any]:
    time.sleep(PAUSE)
    return outcome(attach)


async def attach_there(_: object) -> JSONResponse:
    import asyncio

    await asyncio.sleep(PAUSE)
    began = time.monotonic()
    await attach_async()
    return JSONResponse({"pid": os.getpid(), "seconds": time.monotonic() - began, "error": None, "says": ""})


asgi = Starlette(routes=[Route("/attach", attach_there)])
