"""What the running server itself finds wrong with its run."""

from __future__ import annotations

from collections.abc import Iterable

from roughfed.deploy.doctor.finding import Finding, failure, ok, skipped, warning
from roughfed.deploy.doctor.site import DoctorSite


def alerts(site: DoctorSite) -> Iterable[Finding]:
    """Its alerts, the critical ones as failures."""
    raised = None if site.status is None else site.status.get("alerts")
    if raised is None:
        yield skipped("no server runs here")
        return
    if not raised:
        yield ok("the running server has no alert")
    for row in raised:
        name, text, cure = (str(row.get(key, "")) for key in ("name", "text", "cure"))
        sentence, cure = text or name, cure or "roughfed status shows more"
        if row.get("severity") == "info":
            yield ok(sentence, about=name)
        elif row.get("severity") == "critical":
            yield failure(sentence, cure=cure, about=name)
        else:
            yield warning(sentence, cure=cure, about=name)
