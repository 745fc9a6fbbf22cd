"""The frameworks that tests use, imported once and quietly: what they find wrong with each other is not our business."""

from __future__ import annotations

import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import advanced_alchemy.types.file_object as advanced_alchemy
    import fastapi
    import flask
    import litestar
    import litestar.datastructures
    import litestar.enums
    import litestar.params
    import litestar.plugins.pydantic
    import starlette.applications
    import starlette.requests
    import starlette.responses
    import starlette.routing

__all__ = ("advanced_alchemy", "fastapi", "flask", "litestar", "starlette")
