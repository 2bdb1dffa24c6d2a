"""What becomes of the updates, one by one or in groups."""

from __future__ import annotations

from roughfed.server.metrics.defence import DEFENCE_REASONS
from roughfed.server.metrics.recorder import Recorder
from roughfed.telemetry import Family, safely

RESULTS = ("accepted", "rejected", "late", "duplicate")
REASONS = (
    "signature", "schema", "not-finite", "stale", "late", "not-in-cohort", "size", "count", "conflict", "digest",
    "truncated", "offset", "header", "identity", "protocol", "storage", "stalled", "superseded", "revoked", "foreign",
    "magnitude", *DEFENCE_REASONS, "norm", "void", "dropped", "no-advert", "no-shares", "no-sketch", "no-seat",
    "left-out", "dispute", "not-needed", "proved", "abandoned",
)  # fmt: skip
STAGE_REASONS = ("signature", "order", "late", "header", "conflict", "sets", "sketch")
GROUPS = ("counted", "void")

FAMILIES = (
    Family("updates_total", "counter", "Updates received, by what became of them.", {"result": RESULTS}),
    Family(
        "updates_rejected_total",
        "counter",
        "Updates refused or left out, by reason; storage, stalled and superseded pass: the same update may come again.",
        {"reason": REASONS},
    ),
    Family("groups_total", "counter", "Groups of masked rounds, by what became of their sum.", {"result": GROUPS}),
    Family(
        "stages_rejected_total",
        "counter",
        "Stages of masked rounds that broke a rule, by the rule.",
        {"reason": STAGE_REASONS},
    ),
    Family("proofs_total", "counter", "Clients that were proved to have broken the protocol."),
)


class UpdateMetrics(Recorder):
    """Updates received, refused, left out."""

    @safely
    def update(self, result: str, reason: str = "", *, client: str = "") -> None:
        """What became of an update (`RESULTS`), why it was not taken (`REASONS`), and whose it was."""
        self._telemetry.add("updates_total", result=result)
        if result in ("rejected", "late"):
            self._telemetry.add("updates_rejected_total", reason=reason)
        if client:
            self._clients.update(client, rejected=result == "rejected")

    @safely
    def broke_off(self, reason: str) -> None:
        """An upload ended for a reason that passes (`REASONS`): nothing became of the update yet."""
        self._telemetry.add("updates_rejected_total", reason=reason)

    @safely
    def left_out(self, reason: str) -> None:
        """An update that was received is not in the sum (`REASONS`)."""
        self._telemetry.add("updates_rejected_total", reason=reason)

    @safely
    def groups(self, *, counted: int, void: int, proofs: int) -> None:
        """How the groups of a masked round ended, and how many clients were proved liars."""
        self._telemetry.add("groups_total", counted, result="counted")
        self._telemetry.add("groups_total", void, result="void")
        self._telemetry.add("proofs_total", proofs)

    @safely
    def stage_refused(self, reason: str) -> None:
        """A client's stage broke a rule of the protocol (`STAGE_REASONS`)."""
        self._telemetry.add("stages_rejected_total", reason=reason)
