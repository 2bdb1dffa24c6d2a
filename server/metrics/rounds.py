"""What the rounds do: number, phase, outcome, time, and who took part."""

from __future__ import annotations

from roughfed.server.metrics.recorder import Recorder
from roughfed.telemetry import LONG_S, PHASE_S, Family, safely

PHASES = ("waiting", "choose", "configure", "report", "unmask", "aggregate", "commit", "evaluate")
REACHED = ("configure", "report", "aggregate")
"""Asked, delivered, counted."""
LOST = ("report",)
OUTCOMES = ("committed", "abandoned", "recomputed")
DROPOUTS = ("deadline", "left-behind", "disconnected", "refused", "trainer", "revoked", "quarantined")

FAMILIES = (
    Family("round_current", "gauge", "Number of the round that is open, or of the last one."),
    Family("round_phase", "gauge", "1 at the phase the round is in, 0 elsewhere.", {"phase": PHASES}),
    Family(
        "rounds_total",
        "counter",
        "Rounds that ended, committed or abandoned; those whose stages were played again after a restart are counted a "
        "second time, as recomputed.",
        {"outcome": OUTCOMES},
    ),
    Family(
        "round_opened_timestamp_seconds",
        "gauge",
        "When the round that is open, or the last one, was opened (Unix time).",
        unknown=True,
    ),
    Family(
        "round_deadline_seconds",
        "gauge",
        "Time from then on within which its updates must be here; it begins anew when the server is started again.",
        unknown=True,
    ),
    Family("round_duration_seconds", "histogram", "From opening a round to its end.", buckets=LONG_S),
    Family("phase_duration_seconds", "histogram", "Time spent in a phase.", {"phase": PHASES}, PHASE_S),
    Family(
        "round_last_success_timestamp_seconds", "gauge", "When a round was last committed (Unix time).", unknown=True
    ),
    Family("dispatch_seconds", "histogram", "From opening a round to writing a client's job to its stream."),
    Family(
        "participants",
        "gauge",
        "Clients that reached a phase of the current round: asked, delivered, counted.",
        {"phase": REACHED},
    ),
    Family(
        "dropouts_total",
        "counter",
        "Clients lost in a round, by phase and reason.",
        {"phase": LOST, "reason": DROPOUTS},
    ),
)


class RoundMetrics(Recorder):
    """Rounds and phases."""

    @safely
    def round_opened(self, number: int, opened_at: float, deadline_s: float) -> None:
        """A round begins (Unix time), or is taken up after a restart; nobody has reached any phase of it."""
        self._telemetry.set("round_current", number)
        self._telemetry.set("round_opened_timestamp_seconds", opened_at)
        self._telemetry.set("round_deadline_seconds", deadline_s)
        self._telemetry.fill("participants", "phase", {})

    @safely
    def phase(self, name: str) -> None:
        """The round goes over to a phase (`PHASES`); the time in the one before is recorded."""
        since = self._timer()
        self._telemetry.observe("phase_duration_seconds", since - self._phase_since, phase=self._phase)
        self._phase, self._phase_since = name, since
        self._telemetry.choose("round_phase", "phase", name)

    @safely
    def participants(self, phase: str, count: int) -> None:
        """So many clients have reached a phase of this round (`REACHED`)."""
        self._telemetry.set("participants", count, phase=phase)

    @safely
    def round_closed(self, outcome: str, seconds: float, *, again: bool = False) -> None:
        """A round ended (`OUTCOMES`) after so many seconds; `again`: an earlier process had begun it."""
        self._telemetry.add("rounds_total", outcome=outcome)
        if again:
            self._telemetry.add("rounds_total", outcome="recomputed")
        if outcome == "committed":
            self._telemetry.set("round_last_success_timestamp_seconds", self._now())
        self._telemetry.observe("round_duration_seconds", seconds)

    @safely
    def dispatched(self, seconds: float) -> None:
        """A client's job was written, so long after the round was opened."""
        self._telemetry.observe("dispatch_seconds", seconds)

    @safely
    def dropout(self, phase: str, reason: str) -> None:
        """A client was lost in a phase (`LOST`), for a reason (`DROPOUTS`)."""
        self._telemetry.add("dropouts_total", phase=phase, reason=reason)
