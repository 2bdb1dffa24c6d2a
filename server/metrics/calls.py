"""gRPC: rate, errors, duration."""

from __future__ import annotations

from roughfed.server.metrics.recorder import Recorder
from roughfed.telemetry import CALL_S, Family, safely

RPCS = ("Session", "GetModel", "PutUpdate", "UpdateStatus", "GetMembers")
CODES = (
    "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
    "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
    "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
)  # fmt: skip
REFUSALS = ("schema", "identity", "revoked", "stale", "unknown-model", "offset", "size", "strikes")
_KINDS = {
    "impersonation": "identity", "roster": "identity", "foreign": "identity", "signature": "identity",
    "outdated": "revoked", "late": "stale", "no-delta": "unknown-model", "not-listed": "identity", "members": "stale",
}  # fmt: skip
"""Reasons that are counted under another one: every reason is a series."""

_METHOD_CODE = {"method": RPCS, "code": CODES}

FAMILIES = (
    Family("grpc_server_started_total", "counter", "Calls begun.", {"method": RPCS}),
    Family("grpc_server_handled_total", "counter", "Calls ended, by gRPC status.", _METHOD_CODE),
    Family(
        "refusals_total",
        "counter",
        "Calls that were refused (uploads are in updates_rejected_total), and words of a session that were not heeded.",
        {"reason": REFUSALS},
    ),
    Family("grpc_server_handling_seconds", "histogram", "Duration of a call.", {"method": RPCS}, CALL_S),
    Family("grpc_streams_active", "gauge", "Session streams that are open."),
)


class CallMetrics(Recorder):
    """Calls and open streams."""

    @safely
    def rpc_started(self, method: str) -> None:
        """A call began; `method` is its bare name (`RPCS`)."""
        self._telemetry.add("grpc_server_started_total", method=method)

    @safely
    def rpc_handled(self, method: str, code: str, seconds: float) -> None:
        """A call ended with a gRPC status (`CODES`)."""
        self._telemetry.add("grpc_server_handled_total", method=method, code=code)
        if method != "Session":  # it lasts as long as the client stays
            self._telemetry.observe("grpc_server_handling_seconds", seconds, method=method)

    @safely
    def refused(self, reason: str) -> None:
        """A call was refused, or a client's word not heeded (`REFUSALS`)."""
        self._telemetry.add("refusals_total", reason=_KINDS.get(reason, reason))

    @safely
    def streams(self, active: int) -> None:
        """Number of open Session streams."""
        self._telemetry.set("grpc_streams_active", active)
