"""The check of an edge's membership in the federation above: a client's directory inside of a server's.

It puts the checks of a client together, so it lies beside them: checks do not know one another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from roughfed.config.edge import edge_conflicts
from roughfed.config.federation import FederationConfig
from roughfed.deploy.doctor.checks.certificate import certificate
from roughfed.deploy.doctor.checks.clock import against_server as clock
from roughfed.deploy.doctor.checks.handshake import handshake
from roughfed.deploy.doctor.checks.journal import journal
from roughfed.deploy.doctor.checks.mode import mode
from roughfed.deploy.doctor.checks.ports import ports
from roughfed.deploy.doctor.checks.version import version
from roughfed.deploy.doctor.finding import Finding, failure, ok, skipped, warning
from roughfed.deploy.doctor.site import DoctorSite, visit
from roughfed.deploy.edge.run import VARIABLE, place_above

PARTS: Mapping[str, Callable[[DoctorSite], Iterable[Finding]]] = {
    "certificate": certificate,
    "ports": ports,
    "handshake": handshake,
    "clock": lambda above: [clock(above)],
    "version": version,
    "journal": journal,
    "mode": mode,
}
"""Checks of a client that an edge has to pass above."""


def upstream(site: DoctorSite) -> Iterable[Finding]:
    """What fed.toml may not say here, whether the membership is served, and what is true of every client."""
    folder = place_above(site.folder).folder
    if site.role != "server" or not folder.is_dir():
        yield skipped("this is no edge: it has no membership in a federation above")
        return
    if site.federation is not None:
        yield from settings(site.federation)
    above = visit(folder, status=None, offline=site.offline, within_s=site.left())
    if above.refused is not None:
        yield failure(str(above.refused), cure=above.refused.cure or "correct client.toml", about="settings")
    if above.papers is None:
        cure = f"in the federation above: roughfed invite NAME --edge; then start it once with {VARIABLE}='...'"
        yield failure(f"this edge is no client of a federation above: {above.unenrolled}", cure=cure, about="papers")
        return
    yield served(site, above)
    for name, check in PARTS.items():
        for finding in check(above):
            yield replace(finding, about=f"{name}, {finding.about}" if finding.about else name)


def settings(config: FederationConfig) -> Iterable[Finding]:
    """What only the federation above can have."""
    found = list(edge_conflicts(config))
    for problem in found:
        yield failure(f"{problem.key}: {problem.cause}", cure=problem.cure, about="settings")
    if not found:
        yield ok("fed.toml decides nothing that is decided above", about="settings")


def served(site: DoctorSite, above: DoctorSite) -> Finding:
    """Whether a server that runs here takes part above."""
    if site.pid is None:
        return skipped("no server runs here", about="served")
    if above.pid is None:
        cure = "roughfed stop, then roughfed server --upstream; or move upstream/ away if this is an edge no more"
        sentence = "the server runs without --upstream: the federation above hears nothing of it"
        return warning(sentence, cure=cure, about="served")
    return ok("the server takes part in the federation above", measured=f"process {above.pid}", about="served")
