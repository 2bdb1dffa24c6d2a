"""What a client agent tells Prometheus, on its own machine. None of the methods ever raises."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from roughfed import messages
from roughfed.mode import MODES
from roughfed.telemetry import BUILD_INFO, LONG_S, RESIDENT_BYTES, WORK_S, Family, Samples, Telemetry, safely, timed

PREFIX = "roughfed_client_"

PHASES = ("connecting", *messages.PHASES)
VERDICTS = ("accepted", "excluded", "late", "absent")
DIRECTIONS = ("up", "down")
RECONNECTS = ("asked", "unreachable")
OPERATIONS = ("encode", "decode")
CRYPTO = ("sign", "verify", "shares", "mask", "sketch", "unmask")

LIMITS = ("runs", "rounds", "sketch-numbers", "choice-bits", "static", "statistics")

FAMILIES = (
    Family("phase", "gauge", "1 at what the client is doing, 0 elsewhere.", {"phase": PHASES}),
    Family("session_connected", "gauge", "1 while the client has a session with the server."),
    Family(
        "reconnects_total",
        "counter",
        "Sessions that had to be opened again: the server asked for it (or a certificate was due), or nobody answered.",
        {"reason": RECONNECTS},
    ),
    Family(
        "rounds_total", "counter", "Rounds with this client in them, by the server's verdict.", {"verdict": VERDICTS}
    ),
    Family("round_current", "gauge", "Number of the last round that this client was asked to take part in."),
    Family("train_seconds", "histogram", "Duration of one local training.", buckets=LONG_S),
    Family("train_samples_total", "counter", "Examples processed by training, each as often as it was used."),
    Family(
        "trainer_state_lost_total",
        "counter",
        "Files of what the trainer had kept for the next round that could not be used: damaged, or of another model.",
    ),
    Family("train_loss", "gauge", "Mean loss of the last local training.", unknown=True),
    Family("train_epochs", "gauge", "Epochs that the last local training was given, within the limits.", unknown=True),
    Family("train_batch_size", "gauge", "Examples a step that the last local training was given.", unknown=True),
    Family("train_steps", "gauge", "Steps that the last local training made.", unknown=True),
    Family(
        "transfer_bytes_total",
        "counter",
        "Payload bytes on the wire (up: updates, down: models).",
        {"direction": DIRECTIONS, "codec": ()},
    ),
    Family("transfer_resumes_total", "counter", "Transfers that went on from the middle after a break."),
    Family(
        "codec_seconds",
        "histogram",
        "Time to encode an update, clipping included, or to make a model out of the one before and what was added.",
        {"codec": (), "op": OPERATIONS},
        WORK_S,
    ),
    Family(
        "crypto_seconds",
        "histogram",
        "Time of one operation: signing a statement, checking what the server signed, dealing and opening shares, "
        "masking an update, sketching it, answering for the unmasking.",
        {"op": CRYPTO},
        WORK_S,
    ),
    Family(
        "server_sees",
        "gauge",
        "1 at the most that the server may see of this client, 0 elsewhere.",
        {"mode": MODES},
    ),
    Family(
        "modes_refused_total",
        "counter",
        "Times that the server asked to see more than this client shows, those before its last start included.",
    ),
    Family("cert_expiry_timestamp_seconds", "gauge", "When the client's certificate ends (Unix time).", unknown=True),
    Family(
        "clock_skew_seconds",
        "gauge",
        "How far this clock is ahead of the server's, as seen when the session began; what the message took is in it.",
        unknown=True,
    ),
    Family("resident_bytes", "gauge", "Resident memory of the agent and its trainer together.", unknown=True),
    Family("held_bytes", "gauge", "Size of the client's state directory.", unknown=True),
    Family(
        "gpu_memory_bytes", "gauge", "Memory in use of the trainer's GPU, where NVIDIA's library tells.", unknown=True
    ),
    Family(
        "gpu_utilization_ratio", "gauge", "Share of the last moments in which the trainer's GPU worked.", unknown=True
    ),
    Family(
        "disclosed_ratio",
        "gauge",
        "Share of each of the owner's limits that is used, for this federation and model (`roughfed disclosed`).",
        {"limit": LIMITS},
        on_scrape=True,
    ),
    Family("disclosed_rounds", "gauge", "Rounds in which this client showed anything, in all runs.", on_scrape=True),
    Family("disclosed_fewest_members", "gauge", "Members of the smallest sum that this client was in.", on_scrape=True),
    BUILD_INFO,
    RESIDENT_BYTES,
)


@dataclass(frozen=True, slots=True)
class Disclosed:
    """What has left this client.

    Attributes:
        used: (name of a limit, share of it that is used); of the statistics that a training works out, the one nearest
            its limit counts.
        rounds: in which something left.
        fewest_members: of all sums that this client was in; None: not known.
    """

    used: Iterable[tuple[str, float]] = ()
    rounds: int = 0
    fewest_members: int | None = None


class ClientMetrics:
    """Metrics of one agent, in a registry of its own."""

    def __init__(self, *, codecs: Sequence[str] = ("identity",)) -> None:
        """Start at zero; codecs that are not named count as "other"."""
        self._telemetry = Telemetry(PREFIX, FAMILIES, labels={"codec": codecs})
        self._disclosed: Callable[[], Disclosed] = Disclosed
        self._telemetry.on_scrape("disclosed_ratio", self._disclosed_shares)
        self._telemetry.on_scrape("disclosed_rounds", self._disclosed_rounds)
        self._telemetry.on_scrape("disclosed_fewest_members", self._fewest_members)
        self.phase("connecting")

    def render(self) -> bytes:
        """The page `/metrics`."""
        return self._telemetry.render()

    @safely
    def phase(self, name: str) -> None:
        """The client goes over to something else (`PHASES`)."""
        self._telemetry.choose("phase", "phase", name)

    @safely
    def connected(self, connected: bool) -> None:
        """The session stands, or is gone."""
        self._telemetry.set("session_connected", float(connected))

    @safely
    def reconnecting(self, reason: str) -> None:
        """The session has to be opened again (`RECONNECTS`)."""
        self._telemetry.add("reconnects_total", reason=reason)

    @safely
    def round_closed(self, verdict: str) -> None:
        """What the server made of this client's part in a round (`VERDICTS`)."""
        self._telemetry.add("rounds_total", verdict=verdict)

    @safely
    def round_begun(self, number: int) -> None:
        """The server asks for this client's part in a round."""
        self._telemetry.set("round_current", number)

    @safely
    def trained(self, seconds: float, samples: int, *, loss: float | None = None, lost_state: int = 0) -> None:
        """A local training ended; `samples` counts an example as often as it was used, `lost_state` files of state."""
        self._telemetry.add("trainer_state_lost_total", lost_state)
        self._telemetry.observe("train_seconds", seconds)
        self._telemetry.add("train_samples_total", samples)
        if loss is not None:
            self._telemetry.set("train_loss", loss)

    @safely
    def effort(self, settings: Mapping[str, object], steps: int) -> None:
        """What the last training did: the settings that it had, within this client's limits, and its steps."""
        self._telemetry.set("train_epochs", float(str(settings.get("epochs", 0))))
        self._telemetry.set("train_batch_size", float(str(settings.get("batch_size", 0))))
        self._telemetry.set("train_steps", float(steps))

    @safely
    def transfer(self, direction: str, wire_bytes: int, codec: str) -> None:
        """Payload that crossed the wire (`DIRECTIONS`)."""
        self._telemetry.add("transfer_bytes_total", wire_bytes, direction=direction, codec=codec)

    @safely
    def resumed(self) -> None:
        """A transfer went on from the middle."""
        self._telemetry.add("transfer_resumes_total")

    @safely
    def server_sees(self, mode: str) -> None:
        """The most that the server may see (`MODES`)."""
        self._telemetry.choose("server_sees", "mode", mode)

    @safely
    def modes_refused(self, times: int) -> None:
        """The server asked to see more, so many times."""
        self._telemetry.add("modes_refused_total", times)

    @safely
    def certificate(self, expires_at: float) -> None:
        """The client's certificate ends at this Unix time."""
        self._telemetry.set("cert_expiry_timestamp_seconds", expires_at)

    @timed
    def codec(self, seconds: float, codec: str, op: str) -> None:
        """Time what is encoded or decoded inside (`OPERATIONS`)."""
        self._telemetry.observe("codec_seconds", seconds, codec=codec, op=op)

    @timed
    def crypto(self, seconds: float, op: str) -> None:
        """Time one operation of cryptography (`CRYPTO`)."""
        self._telemetry.observe("crypto_seconds", seconds, op=op)

    @safely
    def clock_skew(self, seconds: float) -> None:
        """This clock is so far ahead of the server's."""
        self._telemetry.set("clock_skew_seconds", seconds)

    @safely
    def disclosed(self, look: Callable[[], Disclosed]) -> None:
        """From now on `look` says what has left, whenever the page is asked for; it runs in the page's thread."""
        self._disclosed = look

    def _disclosed_shares(self) -> Samples:
        shares = dict.fromkeys(LIMITS, 0.0)
        for line, share in self._disclosed().used:
            name = line if line in shares else "statistics"
            shares[name] = max(shares[name], share)
        return [((name,), share) for name, share in shares.items()]

    def _disclosed_rounds(self) -> Samples:
        return [((), float(self._disclosed().rounds))]

    def _fewest_members(self) -> Samples:
        fewest = self._disclosed().fewest_members
        return [((), math.nan if fewest is None else float(fewest))]

    @safely
    def machine(
        self,
        *,
        resident_bytes: float | None,
        held_bytes: float | None,
        gpu_memory_bytes: float | None,
        gpu_utilization: float | None,
    ) -> None:
        """What is known of the machine; of what is None, nothing is known."""
        figures = {
            "resident_bytes": resident_bytes,
            "held_bytes": held_bytes,
            "gpu_memory_bytes": gpu_memory_bytes,
            "gpu_utilization_ratio": gpu_utilization,
        }
        for name, value in figures.items():
            self._telemetry.set(name, math.nan if value is None else value)
