"""What the server tells Prometheus. The methods speak of rounds and clients; none of them ever raises.

Labels take their values from fixed sets (`roughfed.telemetry`). Round numbers, update ids and free text are never
labels; client names only in the bounded series of `server/client_series.py`.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from roughfed.server.client_series import ClientSeries, PerClient
from roughfed.telemetry import BUILD_INFO, LONG_S, RESIDENT_BYTES, Family, Telemetry, safely

PREFIX = "roughfed_"

PHASES = ("waiting", "configure", "report", "unmask", "aggregate", "commit", "evaluate")
OUTCOMES = ("committed", "abandoned")
CLIENT_STATES = ("connected", "idle", "downloading", "training", "evaluating", "uploading", "agreeing")
STAGES = ("advertise", "shares", "opening", "sketch", "consistency", "unmask")
GROUPS = ("counted", "void")
DROPOUTS = ("deadline", "left-behind", "disconnected", "refused", "trainer", "revoked")
RESULTS = ("accepted", "rejected", "late", "duplicate")
DEFENCE_REASONS = (
    "copy", "disagrees", "long", "root", "norm-bound", "krum", "multi-krum", "bulyan", "fltrust", "flame", "dnc",
    "foolsgold",
)  # fmt: skip
"""Why a listed rule leaves an update out; a rule from elsewhere counts under "other"."""
REASONS = (
    "signature", "schema", "not-finite", "stale", "late", "not-in-cohort", "size", "count", "conflict", "digest",
    "truncated", "offset", "header", "identity", "protocol", "storage", "stalled", "superseded", "revoked", "foreign",
    "magnitude", *DEFENCE_REASONS, "norm", "void", "dropped", "no-advert", "no-shares", "no-sketch", "no-seat",
    "left-out", "dispute", "not-needed", "proved", "abandoned",
)  # fmt: skip
PARTS = ("lowest", "median", "highest")
DIRECTIONS = ("up", "down")
SPLITS = ("global", "balanced", "worst_class", "head", "medium", "tail", "clients_mean", "worst10")
RPCS = ("Session", "GetModel", "PutUpdate", "UpdateStatus", "GetAuthority", "Enroll", "Renew", "Check", "Watch")
CODES = (
    "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
    "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
    "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
)  # fmt: skip
ROLES = ("ca", "server")
ENROLMENTS = ("enrolled", "renewed", "revoked", "refused", "rate-limited")

_METHOD_CODE = {"method": RPCS, "code": CODES}

FAMILIES = (
    Family("round_current", "gauge", "Number of the round that is open, or of the last one."),
    Family("round_phase", "gauge", "1 at the phase the round is in, 0 elsewhere.", {"phase": PHASES}),
    Family("rounds_total", "counter", "Rounds that ended, by outcome.", {"outcome": OUTCOMES}),
    Family("round_duration_seconds", "histogram", "From opening a round to its end.", buckets=LONG_S),
    Family("phase_duration_seconds", "histogram", "Time spent in a phase.", {"phase": PHASES}, LONG_S),
    Family(
        "round_last_success_timestamp_seconds", "gauge", "When a round was last committed (Unix time).", unknown=True
    ),
    Family("dispatch_seconds", "histogram", "From opening a round to writing a client's job to its stream."),
    Family(
        "clients", "gauge", "Clients by state; the states overlap, so do not add them up.", {"state": CLIENT_STATES}
    ),
    Family("participants", "gauge", "Clients that reached a phase of the current round.", {"phase": PHASES}),
    Family(
        "dropouts_total",
        "counter",
        "Clients lost in a round, by phase and reason.",
        {"phase": PHASES, "reason": DROPOUTS},
    ),
    Family("updates_total", "counter", "Updates received, by what became of them.", {"result": RESULTS}),
    Family(
        "updates_rejected_total",
        "counter",
        "Updates refused or left out, by reason; storage, stalled and superseded pass: the same update may come again.",
        {"reason": REASONS},
    ),
    Family(
        "transfer_bytes_total",
        "counter",
        "Payload bytes on the wire, seen from the clients (up: updates, down: models).",
        {"direction": DIRECTIONS, "codec": ()},
    ),
    Family(
        "transfer_raw_bytes_total",
        "counter",
        "The same payload as float32; the ratio to the wire bytes is the compression.",
        {"direction": DIRECTIONS},
    ),
    Family("transfer_resumes_total", "counter", "Transfers that went on from the middle after a break."),
    Family("groups_total", "counter", "Groups of masked rounds, by what became of their sum.", {"result": GROUPS}),
    Family("stages_rejected_total", "counter", "Stages of masked rounds that broke a rule.", {"stage": STAGES}),
    Family("proofs_total", "counter", "Clients that were proved to have broken the protocol."),
    Family("aggregate_seconds", "histogram", "Time to combine the updates of a round, by weighting.", {"rule": ()}),
    Family(
        "defence_excluded_total",
        "counter",
        "Updates that the defence left out, by rule and reason.",
        {"defence": (), "reason": DEFENCE_REASONS},
    ),
    Family("defence_seconds", "histogram", "Time to reach the verdicts of a round, by rule.", {"defence": ()}),
    Family(
        "defence_rows", "gauge", "Updates (or groups) that the defence judged last, kept or left out.", unknown=True
    ),
    Family("defence_tolerated", "gauge", "Attackers among them that it was to hold against, f.", unknown=True),
    Family(
        "defence_score",
        "gauge",
        "The figures that the defence went by last, in the rule's own unit; larger is more suspicious.",
        {"part": PARTS},
    ),
    Family(
        "defence_weight_ratio",
        "gauge",
        "Weights that the defence gave last, where it gives any; 1 is what each has in a plain mean.",
        {"part": PARTS},
    ),
    Family("aggregate_norm", "gauge", "L2 norm of the last mean of updates, in units of the parameters.", unknown=True),
    Family(
        "eval_accuracy_ratio",
        "gauge",
        "Accuracy of the newest evaluated model: over all examples, mean over classes, of the worst class, mean over "
        "the classes with most, medium and fewest training examples, mean over clients, mean of the worst tenth of "
        "the clients.",
        {"split": SPLITS},
    ),
    Family("eval_macro_f1_ratio", "gauge", "Mean F1 over classes of the newest evaluated model.", unknown=True),
    Family(
        "eval_calibration_error_ratio",
        "gauge",
        "Mean distance between confidence and accuracy (ECE, 15 bins) of the newest evaluated model.",
        unknown=True,
    ),
    Family("eval_loss", "gauge", "Mean loss of the newest evaluated model.", unknown=True),
    Family("grpc_server_started_total", "counter", "Calls begun.", {"method": RPCS}),
    Family("grpc_server_handled_total", "counter", "Calls ended, by gRPC status.", _METHOD_CODE),
    Family("grpc_server_handling_seconds", "histogram", "Duration of a call.", {"method": RPCS}),
    Family("grpc_streams_active", "gauge", "Session streams that are open."),
    Family("journal_commit_seconds", "histogram", "Time to make one fact durable in the journal."),
    Family("journal_bytes", "gauge", "Size of the journal on disk."),
    Family("blob_store_bytes", "gauge", "Size of the stored models and updates."),
    Family("cert_expiry_timestamp_seconds", "gauge", "When a certificate ends (Unix time).", {"role": ROLES}),
    Family("enrolments_total", "counter", "Requests at the enrolment port, by result.", {"result": ENROLMENTS}),
    Family(
        "client_updates_total",
        "counter",
        'Updates by client, for a bounded number of clients (`metrics.per_client`); the rest is client="other".',
        {"client": ()},
        on_scrape=True,
    ),
    Family(
        "client_excluded_total",
        "counter",
        "Rounds in which a client's update was left out by the defence, for the same clients.",
        {"client": ()},
        on_scrape=True,
    ),
    Family(
        "client_last_seen_timestamp_seconds",
        "gauge",
        "Last sign of life of a client (Unix time), for the same clients.",
        {"client": ()},
        on_scrape=True,
    ),
    BUILD_INFO,
    RESIDENT_BYTES,
)


class ServerMetrics:
    """Metrics of one aggregator, in a registry of its own."""

    def __init__(
        self,
        *,
        per_client: PerClient = "top",
        codecs: Sequence[str] = ("identity",),
        rules: Sequence[str] = ("examples",),
        defences: Sequence[str] = ("none",),
        now: Callable[[], float] = time.time,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start at zero.

        Args:
            per_client: which clients get series of their own.
            codecs: names of the codecs; others count as "other".
            rules: names of the aggregation rules; others count as "other".
            defences: names of the defences; others count as "other".
            now: Unix time in seconds.
            timer: a clock in seconds that never goes back.
        """
        self._telemetry = Telemetry(PREFIX, FAMILIES, labels={"codec": codecs, "rule": rules, "defence": defences})
        self._clients = ClientSeries(per_client)
        self._telemetry.on_scrape("client_updates_total", self._clients.updates)
        self._telemetry.on_scrape("client_excluded_total", self._clients.exclusions)
        self._telemetry.on_scrape("client_last_seen_timestamp_seconds", self._clients.last_seen)
        self._now, self._timer = now, timer
        self._phase, self._phase_since = "waiting", timer()
        self._telemetry.choose("round_phase", "phase", "waiting")

    def render(self) -> bytes:
        """The page `/metrics`."""
        return self._telemetry.render()

    @safely
    def round_opened(self, number: int) -> None:
        """A round begins; nobody has reached any phase of it."""
        self._telemetry.set("round_current", number)
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
        """So many clients have reached a phase of this round."""
        self._telemetry.set("participants", count, phase=phase)

    @safely
    def round_closed(self, outcome: str, seconds: float) -> None:
        """A round ended (`OUTCOMES`) after so many seconds."""
        self._telemetry.add("rounds_total", outcome=outcome)
        if outcome == "committed":
            self._telemetry.set("round_last_success_timestamp_seconds", self._now())
        self._telemetry.observe("round_duration_seconds", seconds)

    @safely
    def dispatched(self, seconds: float) -> None:
        """A client's job was written, so long after the round was opened."""
        self._telemetry.observe("dispatch_seconds", seconds)

    @safely
    def clients(self, counts: Mapping[str, int]) -> None:
        """Number of clients by state (`CLIENT_STATES`); a state that is not named has none."""
        self._telemetry.fill("clients", "state", counts)

    @safely
    def seen(self, client: str) -> None:
        """A sign of life of a client."""
        self._clients.seen(client, self._now())

    @safely
    def forget(self, client: str) -> None:
        """A client was revoked: its series end."""
        self._clients.forget(client)

    @safely
    def dropout(self, phase: str, reason: str) -> None:
        """A client was lost in a phase (`DROPOUTS`)."""
        self._telemetry.add("dropouts_total", phase=phase, reason=reason)

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
    def stage_refused(self, stage: str) -> None:
        """A client's stage (`STAGES`) broke a rule of the protocol."""
        self._telemetry.add("stages_rejected_total", stage=stage)

    @safely
    def transfer(self, direction: str, wire_bytes: int, raw_bytes: int, codec: str) -> None:
        """Payload that crossed the wire, and its size as float32 (`DIRECTIONS`)."""
        self._telemetry.add("transfer_bytes_total", wire_bytes, direction=direction, codec=codec)
        self._telemetry.add("transfer_raw_bytes_total", raw_bytes, direction=direction)

    @safely
    def resumed(self) -> None:
        """A transfer went on from the middle."""
        self._telemetry.add("transfer_resumes_total")

    @safely
    def aggregated(self, rule: str, seconds: float, *, norm: float) -> None:
        """The updates of a round were combined, to one of this L2 norm."""
        self._telemetry.set("aggregate_norm", norm)
        self._telemetry.observe("aggregate_seconds", seconds, rule=rule)

    @safely
    def defended(
        self,
        defence: str,
        seconds: float,
        *,
        rows: int,
        tolerated: int,
        scores: Mapping[str, float],
        weights: Mapping[str, float],
    ) -> None:
        """A rule judged so many rows against so many attackers; its figures by row, which are not shown by row."""
        self._telemetry.observe("defence_seconds", seconds, defence=defence)
        self._telemetry.set("defence_rows", rows)
        self._telemetry.set("defence_tolerated", tolerated)
        self._spread("defence_score", scores.values())
        self._spread("defence_weight_ratio", (weight * len(weights) for weight in weights.values()))

    @safely
    def excluded(self, defence: str, reason: str, *, client: str = "") -> None:
        """A rule left an update out for a reason (`DEFENCE_REASONS`), and whose it was, if it is known."""
        self._telemetry.add("defence_excluded_total", defence=defence, reason=reason)
        if client:
            self._clients.exclude(client)

    def _spread(self, name: str, values: Iterable[float]) -> None:
        """Lowest, median and highest of some values; without any, what was said last is no longer true."""
        known = sorted(value for value in values if math.isfinite(value))
        found = (known[0], statistics.median(known), known[-1]) if known else (math.nan,) * len(PARTS)
        for part, value in zip(PARTS, found, strict=True):
            self._telemetry.set(name, value, part=part)

    @safely
    def evaluated(
        self,
        *,
        accuracy: Mapping[str, float | None] | None = None,
        loss: float | None = None,
        macro_f1: float | None = None,
        calibration_error: float | None = None,
    ) -> None:
        """An evaluation of the newest model: accuracy by split (`SPLITS`), 0 to 1; what is None stays as it was."""
        for split, value in (accuracy or {}).items():
            if value is not None:
                self._telemetry.set("eval_accuracy_ratio", value, split=split)
        rest = {
            "eval_loss": loss,
            "eval_macro_f1_ratio": macro_f1,
            "eval_calibration_error_ratio": calibration_error,
        }
        for name, value in rest.items():
            if value is not None:
                self._telemetry.set(name, value)

    @safely
    def rpc_started(self, method: str) -> None:
        """A call began; `method` is its bare name (`RPCS`)."""
        self._telemetry.add("grpc_server_started_total", method=method)

    @safely
    def rpc_handled(self, method: str, code: str, seconds: float) -> None:
        """A call ended with a gRPC status (`CODES`)."""
        self._telemetry.add("grpc_server_handled_total", method=method, code=code)
        self._telemetry.observe("grpc_server_handling_seconds", seconds, method=method)

    @safely
    def streams(self, active: int) -> None:
        """Number of open Session streams."""
        self._telemetry.set("grpc_streams_active", active)

    @safely
    def journal_committed(self, seconds: float) -> None:
        """A fact became durable."""
        self._telemetry.observe("journal_commit_seconds", seconds)

    @safely
    def storage(self, *, journal_bytes: int, blob_bytes: int) -> None:
        """Sizes on disk."""
        self._telemetry.set("journal_bytes", journal_bytes)
        self._telemetry.set("blob_store_bytes", blob_bytes)

    @safely
    def certificate(self, role: str, expires_at: float) -> None:
        """A certificate (`ROLES`) ends at this Unix time."""
        self._telemetry.set("cert_expiry_timestamp_seconds", expires_at, role=role)

    @safely
    def enrolled(self, result: str) -> None:
        """A request at the enrolment port (`ENROLMENTS`)."""
        self._telemetry.add("enrolments_total", result=result)
