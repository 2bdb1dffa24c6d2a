"""Where the demo shows itself: a live picture on a terminal, else one plain line a round."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

from rich.console import Console, RenderableType
from rich.live import Live

from roughfed.deploy.demo.live_view import DemoScene, draw
from roughfed.report.scale import percent, seconds, size

FRAMES_PER_SECOND = 8


class DemoScreen(Protocol):
    """Told when the scene changed."""

    def running(self) -> AbstractContextManager[Any]:
        """The time in which the scene is shown."""
        ...

    def changed(self) -> None:
        """The scene has changed."""
        ...


class LiveScreen:
    """Redraws the scene in place, so many times a second."""

    def __init__(self, scene: DemoScene, console: Console) -> None:
        """Nothing is drawn yet."""
        self._scene = scene
        self._live = Live(
            console=console, get_renderable=self._draw, refresh_per_second=FRAMES_PER_SECOND, transient=False
        )

    def running(self) -> AbstractContextManager[Any]:
        """See Screen."""
        return self._live

    def changed(self) -> None:
        """The next frame shows it."""

    def _draw(self) -> RenderableType:
        return draw(self._scene, time.monotonic())


class PlainScreen:
    """Prints each stage and each round once."""

    def __init__(self, scene: DemoScene, console: Console) -> None:
        """Nothing is printed yet."""
        self._scene, self._console = scene, console
        self._stage, self._printed = "", 0

    def running(self) -> AbstractContextManager[Any]:
        """See Screen."""
        self._print(f"roughfed demo: {self._scene.title}; logs: {self._scene.folder}")
        return nullcontext()

    def changed(self) -> None:
        """Print what is new. A round waits for its summary and evaluation, which may come after the next began."""
        scene = self._scene
        if scene.stage != self._stage:
            self._stage = scene.stage
            self._print(f"{scene.stage} ({seconds(time.monotonic() - scene.began)})")
        while self._printed < len(scene.rounds):
            r = scene.rounds[self._printed]
            known = r.accuracy is not None and r.seconds
            if not known and r.outcome == "committed" and r is scene.rounds[-1] and not scene.over:
                return
            accuracy = f"accuracy {percent(r.accuracy)}" if r.accuracy is not None else "not evaluated"
            counted = f"{len(r.accepted)} of {len(r.participants)} clients"
            moved = f"up {size(r.upload_bytes)}, down {size(r.download_bytes)}"
            took = seconds(r.seconds)
            self._print(
                f"round {r.round} of {scene.rounds_wanted}: {r.outcome}, {accuracy}, {counted}, {moved}, {took}"
            )
            self._printed += 1

    def _print(self, line: str) -> None:
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)


def screen_for(scene: DemoScene, console: Console) -> DemoScreen:
    """The live picture on a terminal, else plain lines."""
    return LiveScreen(scene, console) if console.is_terminal else PlainScreen(scene, console)
