"""``/schema``: the description of all routes, with scripts that the application serves itself."""

from importlib.metadata import distribution
from pathlib import Path
from typing import Any

from litestar import Router
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import SwaggerRenderPlugin
from litestar.static_files import create_static_files_router

STATIC_URL = "/schema-static"


class OfflinePlugin(SwaggerRenderPlugin):
    """Swagger UI that loads nothing from elsewhere."""

    def render(self, request: Any, openapi_schema: dict[str, Any]) -> bytes:
        """Return Litestar's page without the preset of a top bar, which it does not show."""
        preset = f'<script src="{self.standalone_preset_js_url}" crossorigin></script>'.encode()
        return super().render(request, openapi_schema).replace(preset, b"")


def openapi_of(title: str, version: str) -> OpenAPIConfig:
    """Return the configuration of ``/schema``."""
    page = OfflinePlugin(
        path="/",
        js_url=f"{STATIC_URL}/swagger-ui-bundle.js",
        css_url=f"{STATIC_URL}/swagger-ui.css",
        favicon='<link rel="icon" href="data:,">',
    )
    return OpenAPIConfig(title, version, render_plugins=[page])


def scripts_of_openapi() -> Router:
    """Return the route of the scripts: those that the package fastapi-offline carries, without its code."""
    folder = distribution("fastapi-offline").locate_file("fastapi_offline/static")
    return create_static_files_router(STATIC_URL, [Path(str(folder))], include_in_schema=False)
