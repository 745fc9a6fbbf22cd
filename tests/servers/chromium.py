"""A real browser: headless Chromium, driven over the Chrome DevTools Protocol.

::

    with chromium.start() as browser, browser.page() as page:
        page.open("http://127.0.0.1:8000/")
        assert page.evaluate("fetch('/api').then(answer => answer.status)") == 200

Every page has a profile of its own, so nothing of one test is seen by the next. Names other than 127.0.0.1 and localhost
are not looked up.
"""

from __future__ import annotations

import itertools
import json
import shutil
import signal
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Self

from tests.servers._process import RunningServer, ServerFailedError, ServerMissingError, ServerProcess, start_with_retries

if TYPE_CHECKING:
    from collections.abc import Callable

    from websockets.sync.client import ClientConnection

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--no-default-browser-check",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions", "--mute-audio",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
    "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",  # a beep, a clock
    "--remote-debugging-port=0",
)  # fmt: skip
_TIMEOUT = 60.0


class ScriptError(AssertionError):
    """A script given to `Page.evaluate` threw, or its promise was rejected."""


class Chromium(RunningServer):
    """A running browser without windows."""

    def __init__(self, process: ServerProcess, endpoint: str) -> None:
        super().__init__(process)
        self.endpoint = endpoint

    def page(self) -> Page:
        """Return a new, empty page in a profile of its own; a context manager."""
        return Page(self.endpoint)


class Page:
    """One tab. Not safe for threads; each page has a connection of its own.

    Args:
        endpoint: The browser's WebSocket address.
    """

    def __init__(self, endpoint: str) -> None:
        from websockets.sync.client import connect

        self._numbers = itertools.count(1)
        self._open = ExitStack()
        self._connection: ClientConnection = self._open.enter_context(
            connect(endpoint, max_size=None, proxy=None, open_timeout=_TIMEOUT)
        )
        self._session = ""
        self.events: list[dict[str, Any]] = []
        """The events that arrived and that no `wait_for` has taken, each with ``method`` and ``params``."""
        try:
            self._context = self.call("Target.createBrowserContext")["browserContextId"]
            self.call("Browser.setDownloadBehavior", behavior="deny", browserContextId=self._context, eventsEnabled=True)
            target = self.call("Target.createTarget", url="about:blank", browserContextId=self._context)["targetId"]
            self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
            self.call("Page.enable")
            self.call("Runtime.enable")
        except BaseException:
            self._open.close()
            raise

    def open(self, url: str, *, timeout: float = _TIMEOUT) -> str | None:
        """Go to an address and wait until the page has loaded.

        Returns:
            ``None``, or Chromium's error: ``net::ERR_ABORTED`` when the answer is a download.
        """
        self.events = [event for event in self.events if event["method"] != "Page.loadEventFired"]
        answer = self.call("Page.navigate", url=url)
        if "errorText" in answer:
            return str(answer["errorText"])
        if answer.get("loaderId"):  # else only the fragment changed
            self.wait_for("Page.loadEventFired", timeout=timeout)
        return None

    def evaluate(self, script: str, *, timeout: float = _TIMEOUT) -> Any:
        """Return the value of a JavaScript expression, as JSON could hold it; a promise is awaited.

        Raises:
            ScriptError: It threw.
        """
        answer = self.call(
            "Runtime.evaluate", timeout=timeout, expression=script, awaitPromise=True, returnByValue=True, userGesture=True
        )
        if "exceptionDetails" in answer:
            details = answer["exceptionDetails"]
            raise ScriptError(details.get("exception", {}).get("description") or details["text"])
        return answer["result"].get("value")

    def call(self, method: str, *, timeout: float = _TIMEOUT, **parameters: Any) -> dict[str, Any]:
        """Send one command of the protocol and return its result.

        Raises:
            ServerFailedError: Chromium refuses the command.
        """
        number = next(self._numbers)
        command: dict[str, Any] = {"id": number, "method": method, "params": parameters}
        if self._session and not method.startswith(("Target.", "Browser.")):
            command["sessionId"] = self._session
        self._connection.send(json.dumps(command))
        deadline = time.monotonic() + timeout
        while True:
            message = self._receive(deadline)
            if message.get("id") == number:
                break
            self.events.append(message)
        if "error" in message:
            msg = f"{method}: {message['error']['message']}"
            raise ServerFailedError(msg)
        result: dict[str, Any] = message["result"]
        return result

    def wait_for(
        self, method: str, matches: Callable[[dict[str, Any]], bool] = lambda _: True, *, timeout: float = _TIMEOUT
    ) -> dict[str, Any]:
        """Return the parameters of the first event of this name that matches, arrived already or yet to come.

        Raises:
            TimeoutError: None has come.
        """
        deadline = time.monotonic() + timeout
        seen = 0
        while True:
            for place, event in enumerate(self.events[seen:], seen):
                if event["method"] == method and matches(event["params"]):
                    del self.events[place]
                    parameters: dict[str, Any] = event["params"]
                    return parameters
            seen = len(self.events)
            self.events.append(self._receive(deadline))

    def close(self) -> None:
        """Close the page and forget its profile."""
        try:
            self.call("Target.disposeBrowserContext", browserContextId=self._context)
        finally:
            self._open.close()

    def __enter__(self) -> Self:
        """Return the page."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the page."""
        self.close()

    def _receive(self, deadline: float) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(self._connection.recv(timeout=max(0.0, deadline - time.monotonic())))
        return message


def start() -> Chromium:
    """Start Chromium.

    Raises:
        ServerMissingError: It is not installed.
    """
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        raise ServerMissingError("chromium", "apt install chromium")
    process = ServerProcess("chromium", stop_signal=signal.SIGTERM)
    profile = process.folder / "profile"
    port_file = profile / "DevToolsActivePort"

    def attempt() -> bool:
        port_file.unlink(missing_ok=True)
        environment = {"TMPDIR": str(process.folder), "HOME": str(process.folder)}
        process.spawn([program, *_FLAGS, f"--user-data-dir={profile}", "about:blank"], environment=environment)
        return process.wait_until(lambda: port_file.exists() and port_file.read_text().count("\n") > 0, timeout=_TIMEOUT)

    start_with_retries(process, attempt)
    port, path = port_file.read_text().split("\n")[:2]
    return Chromium(process, f"ws://127.0.0.1:{port}{path}")
