"""Serves the page on this machine: the browser may ask nobody else, and nobody else is told of it."""

from __future__ import annotations

import asyncio
import os
import socket
import webbrowser
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from splitmix.bundle.extras import imported
from splitmix.errors import UserError

LOCAL_HOSTS = ("127.0.0.1", "localhost", "::1")
POLICY = (
    "default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval' 'wasm-unsafe-eval'; frame-ancestors 'self'; "
    "form-action 'self'; base-uri 'self'"
)
"""What the browser may load: from this server alone, whatever Gradio's page asks for."""
QUIET = {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_OFFLINE": "1"}
"""Environment that keeps Gradio and its libraries from calling home; set before they are imported."""
PATIENCE_S = 1
"""Seconds for open connections when the server ends."""


def require_gradio() -> None:
    """Import Gradio, its reports to its makers switched off.

    Raises:
        UserError: it is not installed.
    """
    os.environ.update(QUIET)
    imported("gradio", "explore", "splitmix explore")


def listening(host: str, port: int) -> socket.socket:
    """A socket that takes connections already; 0 takes a free port.

    Raises:
        UserError: an unknown host, a port in use or that needs more rights.
    """
    try:
        family, kind, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError) as error:
        raise UserError(f"host={host}: no such address ({error}); 127.0.0.1 is this machine alone") from error
    made = socket.socket(family, kind)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
        made.listen()
    except OSError as error:
        made.close()
        raise UserError(
            f"port={port}: {host} cannot be served there ({error.strerror}); port=0 takes a free one"
        ) from error
    return made


def url_of(bound: socket.socket, host: str) -> str:
    """The address of the page."""
    name = f"[{host}]" if ":" in host else host
    return f"http://{name}:{bound.getsockname()[1]}/"


def serve(make: Callable[[Path], Any], bound: socket.socket, started: Callable[[], None]) -> None:
    """Serve a page until Ctrl-C, which is raised again.

    Args:
        make: makes the page, Gradio's `Blocks`, given a folder for files, which is removed at the end.
        bound: where to listen.
        started: called when the page can be opened.
    """
    with TemporaryDirectory(prefix="splitmix-explore-") as folder, bound:
        os.environ["GRADIO_TEMP_DIR"] = folder  # what the user uploads
        import uvicorn

        app = application(make(Path(folder)), folder)
        started()
        config = uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=PATIENCE_S)

        class PageServer(uvicorn.Server):
            """Ends in silence while a page is still open: Gradio's stream to it resists being closed."""

            async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
                asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
                await super().shutdown(sockets)

        PageServer(config).run(sockets=[bound])


def application(blocks: Any, folder: str) -> Any:
    """The page as an ASGI application whose every answer carries the policy."""
    import gradio
    from fastapi import FastAPI

    from splitmix.explore.page import head, theme

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    @app.middleware("http")
    async def with_policy(request: Any, call_next: Any) -> Any:
        answer = await call_next(request)
        answer.headers["Content-Security-Policy"] = POLICY
        answer.headers["Referrer-Policy"] = "no-referrer"
        return answer

    mounted = gradio.mount_gradio_app(
        app, blocks, path="/", ssr_mode=False, theme=theme(), head=head(), footer_links=[], allowed_paths=[folder],
        enable_monitoring=False, pwa=False, mcp_server=False, max_file_size="20mb",
    )  # fmt: skip
    return mounted


def open_browser(url: str) -> None:
    """Open the page in the user's browser, where there is one."""
    webbrowser.open(url)
