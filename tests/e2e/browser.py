"""Debian's Chromium without a window, driven over a pipe: https://chromedevtools.github.io/devtools-protocol/.

    with Browser(tmp_path) as browser:
        page = browser.open("http://127.0.0.1:9464/")
        page.until("document.title.startsWith('Waiting')")

Nothing here sleeps: `until` asks the page itself, which looks at every change of its document.
"""

from __future__ import annotations

import base64
import itertools
import json
import os
import queue
import shutil
import subprocess
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

PATIENCE_S = 30.0
LONGEST_S = 90.0
FLAGS = [
    "--headless=new", "--no-sandbox", "--remote-debugging-pipe", "--disable-gpu", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-extensions", "--hide-scrollbars",
    "--disable-dev-shm-usage", "--force-color-profile=srgb",
]  # fmt: skip


class Browser:
    """One browser process with a profile of its own."""

    def __init__(self, folder: Path) -> None:
        program = shutil.which("chromium")
        if program is None:
            pytest.skip("needs chromium (make tools)")
        read_end, self._out = os.pipe()
        into, write_end = os.pipe()
        # The program reads at 3 and writes at 4.
        command = f'exec "$0" "$@" 3<&{read_end} 4>&{write_end}'
        args = ["bash", "-c", command, program, *FLAGS, f"--user-data-dir={folder / 'profile'}", "about:blank"]
        quiet = subprocess.DEVNULL
        self._process = subprocess.Popen(
            args, pass_fds=(read_end, write_end), stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True
        )
        for end in (read_end, write_end):
            os.close(end)
        self._numbers = itertools.count(1)
        self._answers: dict[int, queue.SimpleQueue[dict[str, Any]]] = {}
        self.events: list[dict[str, Any]] = []
        self._lock = threading.Lock()
        self._reader = threading.Thread(target=self._read, args=(os.fdopen(into, "rb"),), name="browser", daemon=True)
        self._reader.start()

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(Exception):
            self.send("Browser.close", {})
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, 9)
            self._process.wait(10)
        os.close(self._out)
        self._reader.join(10)

    def _read(self, lines: Any) -> None:
        pending = b""
        with lines:
            while chunk := lines.read1(1 << 16):
                *whole, pending = (pending + chunk).split(b"\0")
                for each in whole:
                    message = json.loads(each)
                    if (waiting := self._answers.pop(message.get("id", 0), None)) is not None:
                        waiting.put(message)
                    elif "method" in message:
                        self.events.append(message)

    def send(self, method: str, params: Mapping[str, Any], session: str = "") -> dict[str, Any]:
        """One command; its result."""
        number, answer = next(self._numbers), queue.SimpleQueue[dict[str, Any]]()
        self._answers[number] = answer
        message = {"id": number, "method": method, "params": dict(params)} | ({"sessionId": session} if session else {})
        with self._lock:
            os.write(self._out, json.dumps(message).encode() + b"\0")
        found = answer.get(timeout=LONGEST_S)
        assert "error" not in found, f"{method}: {found['error']}"
        return found["result"]

    def open(self, url: str, *, width: int = 1280, height: int = 900, dark: bool = False) -> Tab:
        """A new tab at an address."""
        target = self.send("Target.createTarget", {"url": "about:blank"})["targetId"]
        session = self.send("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
        tab = Tab(self, session)
        for domain in ("Page", "Runtime", "Log", "Network"):
            tab.send(f"{domain}.enable")
        tab.look(width=width, height=height, dark=dark)
        tab.send("Page.navigate", url=url)
        return tab


class Tab:
    """One page."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser, self._session = browser, session

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        return self._browser.send(method, params, self._session)

    def look(self, *, width: int, height: int, dark: bool = False) -> None:
        """The size of the window, and the colours that the person prefers."""
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.send("Emulation.setEmulatedMedia", features=features)

    def ask(self, code: str) -> Any:
        """The value of an expression, awaited."""
        found = self.send("Runtime.evaluate", expression=code, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, f"{code}: {found['exceptionDetails']}"
        return found["result"].get("value")

    def until(self, condition: str, *, timeout_s: float = PATIENCE_S) -> None:
        """Return as soon as an expression is true: it is looked at with every change of the document."""
        holds = self.ask(
            f"""new Promise((settle) => {{
              const look = () => {{ let found = false; try {{ found = Boolean({condition}); }} catch {{ }}
                if (found) {{ watcher.disconnect(); clearTimeout(timer); settle(true); }} return found; }};
              const watcher = new MutationObserver(look);
              const timer = setTimeout(() => {{ watcher.disconnect(); settle(false); }}, {1000 * timeout_s});
              watcher.observe(document, {{ subtree: true, childList: true, attributes: true, characterData: true }});
              look();
            }})"""
        )
        assert holds, f"not within {timeout_s} s: {condition}; title {self.ask('document.title')!r}"

    def text(self, selector: str) -> str:
        return self.ask(f"document.querySelector({json.dumps(selector)}).textContent")

    def picture(self, path: Path, *, whole: bool = False) -> Path:
        """A screenshot: of the window, or of the whole page."""
        if whole:
            size = self.send("Page.getLayoutMetrics")["cssContentSize"]
            clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
            found = self.send("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
        else:
            found = self.send("Page.captureScreenshot", format="png")
        path.write_bytes(base64.b64decode(found["data"]))
        return path

    def _events(self, method: str) -> list[dict[str, Any]]:
        mine = (e for e in list(self._browser.events) if e.get("sessionId") == self._session and e["method"] == method)
        return [event["params"] for event in mine]

    def complaints(self) -> list[str]:
        """Errors and warnings of the console, and exceptions that nobody caught."""
        bad, logged = ("error", "warning"), (e["entry"] for e in self._events("Log.entryAdded"))
        said = [entry["text"] for entry in logged if entry["level"] in bad]
        said += [str(e["args"]) for e in self._events("Runtime.consoleAPICalled") if e["type"] in bad]
        return said + [str(e["exceptionDetails"]) for e in self._events("Runtime.exceptionThrown")]

    def requests(self) -> list[dict[str, Any]]:
        """What it asked for: url, method, headers."""
        return [e["request"] for e in self._events("Network.requestWillBeSent")]
