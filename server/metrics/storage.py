"""What is kept on disk, certificates included."""

from __future__ import annotations

import math

from roughfed.server.metrics.recorder import Recorder
from roughfed.telemetry import Family, safely

ROLES = ("ca", "server")
ENROLMENTS = ("enrolled", "renewed", "revoked", "refused", "rate-limited")

FAMILIES = (
    Family("journal_commit_seconds", "histogram", "Time to make one fact durable in the journal."),
    Family("journal_bytes", "gauge", "Size of the journal on disk."),
    Family("blob_store_bytes", "gauge", "Size of the stored models and updates."),
    Family("disk_free_bytes", "gauge", "Free space where the state directory lies.", unknown=True),
    Family("disk_size_bytes", "gauge", "Size of the file system where it lies.", unknown=True),
    Family("cert_expiry_timestamp_seconds", "gauge", "When a certificate ends (Unix time).", {"role": ROLES}),
    Family("enrolments_total", "counter", "Requests at the enrolment port, by result.", {"result": ENROLMENTS}),
)


class StorageMetrics(Recorder):
    """Journal, blobs, certificates, enrolments."""

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
    def disk(self, *, free_bytes: int, total_bytes: int) -> None:
        """The file system of the state directory; a size of 0 is none that is known."""
        self._telemetry.set("disk_free_bytes", free_bytes if total_bytes else math.nan)
        self._telemetry.set("disk_size_bytes", total_bytes or math.nan)

    @safely
    def certificate(self, role: str, expires_at: float) -> None:
        """A certificate (`ROLES`) ends at this Unix time."""
        self._telemetry.set("cert_expiry_timestamp_seconds", expires_at, role=role)

    @safely
    def enrolled(self, result: str) -> None:
        """A request at the enrolment port (`ENROLMENTS`)."""
        self._telemetry.add("enrolments_total", result=result)
