"""What a check found: a state, a sentence, the measured value and the cure."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum


class CheckState(StrEnum):
    """How it is."""

    OK = "ok"
    WARNING = "warning"
    FAILURE = "failure"
    SKIPPED = "not applicable"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        state: how it is.
        sentence: what was found, for people.
        measured: the value behind it, with its unit; empty where there is none.
        cure: what to do; never empty for a warning or a failure.
        about: which of several things of one check it is about; empty where there is one.
    """

    state: CheckState
    sentence: str
    measured: str = ""
    cure: str = ""
    about: str = ""

    def __post_init__(self) -> None:
        """A finding that leaves people alone with it is a fault of the check."""
        if self.state in (CheckState.WARNING, CheckState.FAILURE) and not self.cure:
            raise ValueError(f"no cure for: {self.sentence}")

    def plain(self) -> dict[str, str]:
        """For JSON."""
        return {key: str(value) for key, value in asdict(self).items()}


def ok(sentence: str, *, measured: str = "", about: str = "") -> Finding:
    """It is in order."""
    return Finding(CheckState.OK, sentence, measured, about=about)


def warning(sentence: str, *, cure: str, measured: str = "", about: str = "") -> Finding:
    """It works, and will or may not for long."""
    return Finding(CheckState.WARNING, sentence, measured, cure, about)


def failure(sentence: str, *, cure: str, measured: str = "", about: str = "") -> Finding:
    """It does not work."""
    return Finding(CheckState.FAILURE, sentence, measured, cure, about)


def skipped(sentence: str, *, about: str = "") -> Finding:
    """There is nothing to look at here."""
    return Finding(CheckState.SKIPPED, sentence, about=about)
