"""Files over HTTP, without a framework: status, headers and body.

::

    from filerow.http import serve

    reply = serve(document.file, "GET", request.headers)
    reply.status, reply.headers, reply.body

`serve`, `redirect` and `accelerate` are three ways to send a file; `answer` and `receive` are the route of signed URLs for
backends without a server; `problem` turns our errors into responses. Nothing here imports a framework: ``filerow.ext`` has a
module for each.
"""

from __future__ import annotations

from filerow._presentation import Presentation, is_shown, present, safe_headers
from filerow.http._capacity import UploadCapacity, upload_capacity
from filerow.http._problem import problem
from filerow.http._reply import AsyncChunks, Body, Chunks, Reply
from filerow.http.route import answer, answer_async, receive, receive_async
from filerow.http.serving import accelerate, redirect, redirect_async, serve, serve_async

__all__ = (
    "AsyncChunks",
    "Body",
    "Chunks",
    "Presentation",
    "Reply",
    "UploadCapacity",
    "accelerate",
    "answer",
    "answer_async",
    "is_shown",
    "present",
    "problem",
    "receive",
    "receive_async",
    "redirect",
    "redirect_async",
    "safe_headers",
    "serve",
    "serve_async",
    "upload_capacity",
)
