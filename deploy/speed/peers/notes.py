"""What a peer wrote down about its rounds, read back: pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from statistics import median
from typing import Any

from roughfed.errors import RoughfedError

STEP = 0.01
"""What every client of a peer adds to every parameter in a round: the sum says whether all rounds counted."""

TOLERANCE = 1e-3
"""Of the last mean: SecAgg+ rounds to 4e-6, and float32 adds up."""

_STARTED = re.compile(r"Round (\d+) started\.")
_FINISHED = "Finished FedAvg."


@dataclass(frozen=True, slots=True)
class Rounds:
    """When a peer's rounds began and its last one ended, all in Unix seconds."""

    begins: tuple[float, ...]
    end: float

    @property
    def seconds(self) -> tuple[float, ...]:
        """Of each round but the first: from its beginning to the next one's, or to the end."""
        return tuple(after - before for before, after in pairwise((*self.begins, self.end)))[1:]

    @property
    def seconds_per_round(self) -> float:
        """Median of the rounds after the first."""
        return median(self.seconds)

    @property
    def window(self) -> tuple[float, float]:
        """From the second round's beginning to the end."""
        return self.begins[1], self.end


def of_flower(text: str, *, rounds: int, clients: int) -> Rounds:
    """The rounds that Flower's strategy noted, a line of JSON each.

    Raises:
        RoughfedError: rounds or answers are missing, or the mean is not what such clients give.
    """
    lines: list[dict[str, Any]] = [json.loads(line) for line in text.splitlines() if line.strip()]
    begins = tuple(float(line["time"]) for line in lines if "begins" in line)
    answers = [int(line["answers"]) for line in lines if "answers" in line]
    ends = [line for line in lines if "ends" in line]
    if len(begins) != rounds or not ends:
        raise RoughfedError(f"Flower began {len(begins)} of {rounds} rounds and did not say that it ended well")
    if answers != [clients] * rounds:
        raise RoughfedError(f"not all of {clients} clients answered in every round: {answers}")
    check_mean(ends[-1], rounds=rounds)
    return Rounds(begins, float(ends[-1]["time"]))


def of_nvflare(lines: Iterable[str], *, rounds: int, clients: int) -> Rounds:
    """The rounds in the log of NVFlare's server job, a line of JSON each; its times are local ones.

    Raises:
        RoughfedError: rounds or answers are missing.
    """
    begins: dict[int, float] = {}
    end, whole = 0.0, 0
    for line in lines:
        entry: dict[str, Any] = json.loads(line) if line.startswith("{") else {}
        message = str(entry.get("message", ""))
        if found := _STARTED.search(message):
            begins[int(found[1])] = _moment(str(entry["asctime"]))
        elif _FINISHED in message:
            end = _moment(str(entry["asctime"]))
        whole += message == f"Aggregated {clients}/{clients} results"
    if len(begins) != rounds or not end:
        raise RoughfedError(f"NVFlare's log tells of {len(begins)} of {rounds} rounds")
    if whole != rounds:
        raise RoughfedError(f"not all of {clients} clients answered in every round: in {whole} of {rounds}")
    return Rounds(tuple(begins[number] for number in sorted(begins)), end)


def check_mean(result: Mapping[str, Any], *, rounds: int) -> None:
    """Whether every parameter grew by `STEP` in every round.

    Raises:
        RoughfedError: it did not.
    """
    lowest, highest, want = float(result["lowest"]), float(result["highest"]), rounds * STEP
    if not (abs(lowest - want) <= TOLERANCE and abs(highest - want) <= TOLERANCE):
        raise RoughfedError(f"the last model lies in {lowest:.4g} to {highest:.4g}, where {want:.4g} was to be")


def _moment(text: str) -> float:
    """Unix seconds of a log's local "2026-01-31 12:00:00,123"."""
    return datetime.strptime(text, "%Y-%m-%d %H:%M:%S,%f").astimezone().timestamp()
