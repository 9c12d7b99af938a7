"""A headless Chromium, driven over the two pipes of its debugging protocol."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
_OPTIONS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
    *("--no-first-run", "--hide-scrollbars", "--remote-debugging-pipe"),
)

PATIENCE_SECONDS = 30


class Browser:
    """One page of a browser."""

    def __init__(self, requests: IO[bytes], answers: IO[bytes]) -> None:
        self._requests = requests
        self._answers = answers
        self._number = 0
        self._session = ""
        self.happened: list[dict[str, Any]] = []
        """The events of the browser, such as a dialog, a request, or a line on the console."""

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol, and return its result."""
        answer = self._answer(method, **parameters)
        assert "error" not in answer, answer
        result = answer["result"]
        assert isinstance(result, dict)
        return result

    def _answer(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        self._requests.write(json.dumps(message).encode() + b"\0")
        self._requests.flush()
        while (answer := self._next()).get("id") != self._number:
            self.happened.append(answer)
        return answer

    def _next(self) -> dict[str, Any]:
        data = b""
        while not data.endswith(b"\0"):
            byte = self._answers.read(1)
            assert byte, "the browser has ended"
            data += byte
        answer = json.loads(data[:-1])
        assert isinstance(answer, dict)
        return answer

    def attach(self) -> None:
        """Open the page."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def size(
        self, width: int, height: int, *, phone: bool = False, dark: bool = False
    ) -> None:
        """Set the size of the screen, in points."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=phone,
        )  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def open(self, path: Path) -> None:
        """Show a file, and wait until it is loaded."""
        self.happened.clear()
        self.call("Page.navigate", url=path.as_uri())
        while "Page.loadEventFired" not in [each.get("method") for each in self.happened]:
            self.happened.append(self._next())
        # The event may have been that of the page before.
        self.wait_for_page(path.as_uri())

    def wait_for_page(self, url: str) -> None:
        """Wait until a page is shown whole.

        A page that changes while it is asked has no answer: Chromium ends such a call with an error.
        """
        end = time.monotonic() + PATIENCE_SECONDS
        shown = f"location.href + document.readyState === {json.dumps(url + 'complete')}"
        while True:
            answer = self._answer("Runtime.evaluate", expression=shown, returnByValue=True)
            if answer.get("result", {}).get("result", {}).get("value") is True:
                return
            assert time.monotonic() < end, answer
            time.sleep(0.05)

    def run(self, expression: str) -> Any:
        """Evaluate JavaScript in the page."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def screenshot(self) -> bytes:
        """Return a picture of the page, as PNG."""
        return base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])


@contextmanager
def browser(directory: Path) -> Iterator[Browser]:
    """Run a browser; it ends with the block."""
    assert CHROMIUM is not None
    requests_out, requests_in = os.pipe()
    answers_out, answers_in = os.pipe()
    # The protocol wants its pipes as descriptors 3 and 4; bash, since dash reads no number of two digits.
    shell = f'exec "$@" 3<&{requests_out} 4>&{answers_in}'
    arguments = (CHROMIUM, *_OPTIONS, f"--user-data-dir={directory}")
    with (
        os.fdopen(requests_in, "wb") as requests,
        os.fdopen(answers_out, "rb") as answers,
        subprocess.Popen(
            ["bash", "-c", shell, "bash", *arguments],
            pass_fds=(requests_out, answers_in),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process,
    ):
        os.close(requests_out)
        os.close(answers_in)
        try:
            page = Browser(requests, answers)
            page.attach()
            yield page
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
