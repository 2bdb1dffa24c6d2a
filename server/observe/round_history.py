"""The rounds that are over, as the status page asks for them: made once each, kept as JSON.

It reads the journal through a connection of its own, in the thread that asks. What a round says can change after it is
over: evaluations of its version arrive with later rounds, contributions are scored beside them. A round is made again
when the journal has more of it, or less.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from pydantic_core import to_json

from roughfed.config.federation import FederationConfig
from roughfed.report.summary import RoundSummary, RunSummary, with_class_counts
from roughfed.server.observe.run_summary import bare_summary, summaries_of
from roughfed.server.storage.store import RoundRow, Store
from roughfed.wire.session import decode_header

AT_ONCE = 200
"""Rounds of one answer; who wants more asks again."""
NAMED = 100
"""Of so many newest rounds it is said who took part; of older ones, how many."""

HEAVY = ("confusion", "calibration", "client_accuracy", "client_personal", "client_alone", "groups", "heterogeneity")
"""Said of the newest round alone, or cut short."""
NAMES = ("participants", "accepted", "excluded", "dropped")

Json = dict[str, Any]
Version = tuple[object, ...]

_ROUND, _RUN = TypeAdapter(RoundSummary), TypeAdapter(RunSummary)


@dataclass(frozen=True, slots=True)
class Kept:
    """One round: by what the journal had of it when it was made, without names, and with them where they are told."""

    version: Version
    short: bytes
    named: bytes = b""


class Played:
    """The rounds of one journal; calls may come from several threads."""

    def __init__(self, folder: Path, config: FederationConfig) -> None:
        """Nothing is read before somebody asks. `folder`: the state directory."""
        self._folder, self._config = folder, config
        self._lock = threading.Lock()
        self._store: Store | None = None
        self._kept: dict[int, Kept] = {}
        self._closed = False

    def close(self) -> None:
        """Close the journal; whoever asks later is told of no round."""
        with self._lock:
            self._closed = True
            if self._store is not None:
                self._store.close()

    def after(self, number: int, more: Json | None = None) -> bytes:
        """JSON of the run and of its rounds beyond a number, at most `AT_ONCE`, oldest first; `more` is put beside.

        `{"newest": N, "more": bool, "rounds": [...], ...}` in the shape of `roughfed.report.summary.RunSummary`. Heavy
        figures come with the newest round alone; each round has "counts" and "reasons" beside the names.
        """
        with self._lock:
            if self._closed:
                return b'{"newest":0,"more":false,"rounds":[]}'
            self._store = self._store or Store(self._folder)
            return self._answer(self._store, number, more or {})

    def _answer(self, store: Store, number: int, beside: Json) -> bytes:
        if (run := bare_summary(store, self._config)) is None:
            return b'{"newest":0,"more":false,"rounds":[]}'
        versions = _versions(store)
        numbers = [each for each in sorted(versions) if each > number]
        shown, newest = numbers[:AT_ONCE], max(versions, default=0)
        self._make(store, run, [each for each in shown if self._is_stale(each, versions[each])], versions)
        self._forget(newest, versions)
        rounds = [self._kept[n].named or self._kept[n].short for n in shown if n != newest]
        if newest in shown:
            rounds.append(to_json(_whole(store, run, newest), inf_nan_mode="null"))
        told = {"newest": newest, "more": len(numbers) > len(shown), **beside}
        head = _RUN.dump_python(run, mode="json") | told
        for key in ("rounds", "config", "client_class_accuracy"):
            head.pop(key)
        return to_json(head, inf_nan_mode="null")[:-1] + b',"rounds":[' + b",".join(rounds) + b"]}"

    def _is_stale(self, number: int, version: Version) -> bool:
        return (kept := self._kept.get(number)) is None or kept.version != version

    def _make(self, store: Store, run: RunSummary, numbers: list[int], versions: Mapping[int, Version]) -> None:
        if not numbers:
            return
        wanted = set(numbers)
        rows = [row for row in store.rounds(after=numbers[0] - 1, until=numbers[-1]) if row.round in wanted]
        for row, found in zip(rows, _told(store, run, rows), strict=True):
            light = {key: value for key, value in found.items() if key not in HEAVY} | {
                "heterogeneity": _lighter(found)
            }
            short = {key: value for key, value in light.items() if key not in NAMES}
            named, bare = (to_json(each, inf_nan_mode="null") for each in (light, short))
            self._kept[row.round] = Kept(versions[row.round], bare, named)

    def _forget(self, newest: int, versions: Mapping[int, Version]) -> None:
        """The names in rounds that have become old, and rounds that the journal has no more: a run may be long."""
        for number, kept in list(self._kept.items()):
            if number not in versions:
                del self._kept[number]
            elif kept.named and number <= newest - NAMED:
                self._kept[number] = replace(kept, named=b"")


def _versions(store: Store) -> dict[int, Version]:
    """What the journal has of each round that is over: it changes when there is more to say."""
    grouped = store.journal.read(  # and not for each round: a model is not found by its round
        "SELECT m.round, count(*) AS n FROM evaluations e JOIN models m ON m.version = e.version GROUP BY m.round"
    )
    measured: dict[int, int] = {row["round"]: row["n"] for row in grouped}
    rows = store.journal.read(
        "SELECT round, length(summary), length(sets), outcome FROM rounds WHERE outcome IS NOT NULL ORDER BY round"
    )
    return {row["round"]: (*tuple(row)[1:], measured.get(row["round"], 0)) for row in rows}


def _whole(store: Store, run: RunSummary, number: int) -> Json:
    rows = store.rounds(after=number - 1, until=number)
    return next(iter(_told(store, run, rows)))


def _told(store: Store, run: RunSummary, rows: list[RoundRow]) -> Iterable[Json]:
    """Rounds as the report has them, and what only the row knows."""
    made = with_class_counts(replace(run, rounds=summaries_of(store, rows)), run.class_prior).rounds
    reasons = {row["round"]: row["reason"] for row in store.journal.read("SELECT round, reason FROM rounds")}
    for row, summary in zip(rows, made, strict=True):
        yield _ROUND.dump_python(summary, mode="json") | {
            "opened_at": row.opened_at,
            "closed_at": row.closed_at,
            "codec": decode_header(row.header.body).codec,
            "why": reasons[row.round],
            "cluster": row.cluster,
            "counts": {name: len(getattr(summary, name)) for name in NAMES},
            "reasons": dict(Counter(why for _, why in summary.excluded)),
        }


def _lighter(found: Json) -> Json:
    """Of clients that differ, what a curve over the rounds shows: no single client."""
    told = found["heterogeneity"]
    fairness, contribution = told["fairness"], told["contribution"]
    return {
        "spread": told["spread"],
        "fairness": fairness and {"rule": fairness["rule"], "strength": fairness["strength"]},
        "clusters": len(told["clusters"]["clusters"]) if told["clusters"] else 0,
        "contribution": contribution and {"method": contribution["method"], "skipped": contribution["skipped"]},
    }
