"""A real Chromium without a window, for tests that look at pages: keys are pressed, places are clicked, pictures are taken.

It speaks the browser's DevTools protocol, so that nothing but Chromium is needed; tests are skipped where there is none.
"""

from __future__ import annotations

import base64
import io
import json
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from websockets.sync.client import connect

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--remote-debugging-port=0", "--hide-scrollbars",
)  # fmt: skip
NAMED_KEYS = {" ": "Space", "ArrowLeft": "ArrowLeft", "ArrowUp": "ArrowUp", "Enter": "Enter", "Tab": "Tab"}
PATIENCE = 60.0


class Page:
    """One tab. `ask` runs JavaScript and gives its value."""

    def __init__(self, address: str, port: int, name: str) -> None:
        self.line = connect(address, max_size=64 << 20, proxy=None)
        self.port, self.name, self.sent = port, name, 0
        self.errors: list[str] = []
        self.send("Runtime.enable")

    def send(self, method: str, **values: Any) -> dict[str, Any]:
        self.sent += 1
        self.line.send(json.dumps({"id": self.sent, "method": method, "params": values}))
        while True:
            answer = json.loads(self.line.recv(timeout=PATIENCE))
            if answer.get("method") == "Runtime.exceptionThrown":
                details = answer["params"]["exceptionDetails"]
                self.errors.append(details.get("exception", {}).get("description") or details["text"])
            if answer.get("id") == self.sent:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]

    def ask(self, script: str) -> Any:
        result = self.send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def until(self, script: str, holds: Callable[[Any], object] = bool, seconds: float = PATIENCE) -> Any:
        """Waits for a value of JavaScript that holds, and gives it."""
        end = time.monotonic() + seconds
        while not holds(value := self.ask(script)):
            assert time.monotonic() < end, f"{script} is still {value!r}"
            time.sleep(0.05)
        return value

    def text(self, selector: str) -> str:
        return self.ask(f"document.querySelector({selector!r}).textContent")

    def down(self, key: str) -> None:
        self._key("keyDown", key)

    def up(self, key: str) -> None:
        self._key("keyUp", key)

    def press(self, key: str) -> None:
        self.down(key)
        self.up(key)

    def _key(self, kind: str, key: str) -> None:
        typed = {"text": key} if kind == "keyDown" and len(key) == 1 else {}
        typed = {"text": "\r"} if kind == "keyDown" and key == "Enter" else typed
        self.send("Input.dispatchKeyEvent", type=kind, key=key, code=NAMED_KEYS.get(key, f"Key{key.upper()}"), **typed)

    def type(self, words: str) -> None:
        for letter in words:
            self.press(letter)

    def middle(self, selector: str) -> tuple[float, float]:
        """Where an element is in the window, after it was scrolled to."""
        place = (
            f"(() => {{ const one = document.querySelector({selector!r}); one.scrollIntoView({{ block: 'center' }});"
            "const box = one.getBoundingClientRect(); return [box.x + box.width / 2, box.y + box.height / 2]; })()"
        )
        x, y = self.ask(place)
        return x, y

    def click(self, selector: str) -> None:
        x, y = self.middle(selector)
        for kind in ("mousePressed", "mouseReleased"):
            self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def touch(self, selector: str, seconds: float) -> None:
        """A finger on an element, for a while."""
        x, y = self.middle(selector)
        self.send("Input.dispatchTouchEvent", type="touchStart", touchPoints=[{"x": x, "y": y}])
        time.sleep(seconds)
        self.send("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    def size(self, width: int, height: int, phone: bool = False) -> None:
        self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone,
        )  # fmt: skip
        self.send("Emulation.setTouchEmulationEnabled", enabled=phone)

    def shot(self, whole: bool = True) -> Image.Image:
        """The page as it looks now: all of it, or what is in the window."""
        data = self.send("Page.captureScreenshot", format="png", captureBeyondViewport=whole)["data"]
        return Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")

    def close(self) -> None:
        self.line.close()
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/json/close/{self.name}"):
            pass


class Browser:
    def __init__(self, port: int) -> None:
        self.port = port

    def open(self, url: str) -> Page:
        address = f"http://127.0.0.1:{self.port}/json/new?{urllib.parse.quote(url, safe='')}"
        with urllib.request.urlopen(urllib.request.Request(address, method="PUT")) as answer:
            tab = json.load(answer)
        page = Page(tab["webSocketDebuggerUrl"], self.port, tab["id"])
        page.until("document.readyState === 'complete' && location.href !== 'about:blank'")
        return page


@contextmanager
def chromium(profile: Path) -> Iterator[Browser]:
    """A browser with an empty profile in a folder. Skips the test where there is none."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no Chromium is installed")
    command = [program, *FLAGS, f"--user-data-dir={profile}", "about:blank"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        place, end = profile / "DevToolsActivePort", time.monotonic() + PATIENCE
        while not (place.exists() and place.read_text().count("\n")):
            assert process.poll() is None and time.monotonic() < end, "Chromium did not start"
            time.sleep(0.05)
        yield Browser(int(place.read_text().split("\n")[0]))
    finally:
        process.terminate()
        process.wait(timeout=20)
