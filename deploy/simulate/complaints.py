"""What goes wrong with single clients: what ends a simulation at once, and what is only told.

A client that cannot even say what it is (its app fails, or has another model) would never join a real federation; here
it is a mistake of whoever simulates. A training that fails is an ordinary fault: the round goes on without it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from roughfed.client.job_runner import SITS_OUT
from roughfed.deploy.simulate.program import Program
from roughfed.errors import ConfigError, RoughfedError, TrainerError
from roughfed.messages import JobUpdate

MOST_TOLD = 5
"""Complaints that are told; the others are counted."""

USER_CODE = "user-code"
"""Reason of an error in what the app's author wrote."""


class Broken(TrainerError):
    """One virtual client cannot be what it must be."""

    def __init__(self, message: str, *, cure: str, reason: str, detail: str) -> None:
        """`cure` is how to see it alone."""
        super().__init__(message, reason=reason, detail=detail)
        self.cure = cure


class Complaints:
    """Of one simulation.

    Attributes:
        failed: trainings that failed, or were refused by their client.
    """

    def __init__(self, program: Program, tell: Callable[[str], None], *, on_broken: Callable[[], None]) -> None:
        """`tell` hears of the first few trainings that fail, `on_broken` that a client cannot take part at all."""
        self._program, self._tell, self._on_broken = program, tell, on_broken
        self.failed = 0
        self._error: Broken | None = None

    @property
    def broken(self) -> bool:
        """Whether there is a client that cannot take part at all."""
        return self._error is not None

    def broke(self, name: str, index: int, error: BaseException) -> None:
        """A client cannot take part; the first one counts."""
        if self._error is None:
            self._error = broken(self._program, error, index, f"{name} (index {index} of {self._program.clients}): ")
            self._on_broken()

    def check(self) -> None:
        """Raise what `broke` was told first."""
        if self._error is not None:
            raise self._error

    def said(self, name: str, index: int, update: JobUpdate) -> None:
        """What a client says of its job."""
        if update.state == "accepted" or update.reason in SITS_OUT or self.broken:
            return
        self.failed += 1
        if self.failed <= MOST_TOLD:
            self._tell(f"round {update.round}: {name} (index {index}) {update.state}: {update.detail or update.reason}")
        if self.failed == MOST_TOLD + 1:
            self._tell("more trainings fail; their number is told at the end")


def broken(program: Program, error: BaseException, index: int = 0, who: str = "", *, server: bool = False) -> Broken:
    """An error of a client's app, or of what the server evaluates with, in the words of a simulation."""
    reason = error.reason if isinstance(error, RoughfedError) else "fault"
    detail = error.detail if isinstance(error, TrainerError) else ""
    if server and program.server_app:
        cure = _server_cure(program.server_app, reason)
    else:
        cure = _cure(program, error, index, reason)
    found = Broken(f"{who}{error}", cure=cure, reason=reason, detail=detail)
    found.__cause__ = error
    return found


def _cure(program: Program, error: BaseException, index: int, reason: str) -> str:
    if not program.app:
        return "other data, fewer --clients, another --partition, or other settings"
    if reason == USER_CODE:
        return _alone(program.app, f"({index}, {program.clients})")
    if isinstance(error, ConfigError) and error.key not in ("", "app"):  # those are about the model
        return error.cure
    if isinstance(error, TrainerError):  # which says what to give instead
        return "docs/simulate.md says what the function of --app gives, with an example"
    return "all clients need one model, and each its own part of the data; docs/simulate.md has an example"


def _server_cure(app: str, reason: str) -> str:
    if reason == USER_CODE:
        return _alone(app)
    return "--server-app names one Client, with the clients' model and data to test it; docs/simulate.md has an example"


def _alone(app: str, call: str = "") -> str:
    file, _, name = app.rpartition(":")
    folder, module = Path(file).parent, Path(file).stem
    return f"to see it alone, in {folder}: python -c 'import {module}; {module}.{name}{call}'"
