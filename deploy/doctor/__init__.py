"""`roughfed doctor`: is something wrong here, and what helps? One check is one file in `checks/` and one row of CHECKS.

A check is given the `DoctorSite` and gives findings. It changes nothing, disturbs nobody who runs, and tells no secret.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from roughfed.deploy.doctor.checks.alerts import alerts
from roughfed.deploy.doctor.checks.authority import authority
from roughfed.deploy.doctor.checks.certificate import certificate
from roughfed.deploy.doctor.checks.clock import clock
from roughfed.deploy.doctor.checks.control import control
from roughfed.deploy.doctor.checks.data import data
from roughfed.deploy.doctor.checks.device import device
from roughfed.deploy.doctor.checks.disk import disk
from roughfed.deploy.doctor.checks.handshake import handshake
from roughfed.deploy.doctor.checks.installation import installation
from roughfed.deploy.doctor.checks.journal import journal
from roughfed.deploy.doctor.checks.limits import limits
from roughfed.deploy.doctor.checks.mode import mode
from roughfed.deploy.doctor.checks.ports import ports
from roughfed.deploy.doctor.checks.settings import settings
from roughfed.deploy.doctor.checks.version import version
from roughfed.deploy.doctor.edge_membership import upstream
from roughfed.deploy.doctor.finding import Finding
from roughfed.deploy.doctor.site import DoctorSite


class Check(NamedTuple):
    """A row: what looks, and what at, for people."""

    look: Callable[[DoctorSite], Iterable[Finding]]
    at: str


CHECKS: Mapping[str, Check] = MappingProxyType(
    {
        "installation": Check(installation, "Python, packages, compiled kernels, entropy, umask"),
        "settings": Check(settings, "fed.toml or client.toml: do they load and go together, who may change them"),
        "clock": Check(clock, "this machine's clock against the server's, the certificates and a time service"),
        "ports": Check(ports, "ports that are taken, names that do not resolve, connections that are refused"),
        "handshake": Check(handshake, "TLS with the server, and the real reason where it fails"),
        "certificate": Check(certificate, "keys, certificate and roster entry, and when they end"),
        "authority": Check(authority, "the CA's key, its list of members and its end"),
        "version": Check(version, "software and protocol here and on the other side"),
        "disk": Check(disk, "room, inodes, writes that survive, the kind of file system"),
        "journal": Check(journal, "whether the journal is whole, and which schema it has"),
        "device": Check(device, "whether torch sees the GPU that is wanted, and its memory"),
        "data": Check(data, "app, model and data: one step, shapes, NaN, labels, amounts"),
        "limits": Check(limits, "open files, memory, processors"),
        "control": Check(control, "the operator's socket, and who holds the directory"),
        "mode": Check(mode, "how much a client's server may see, and whether it asked for more"),
        "upstream": Check(upstream, "an edge's membership above: settings, papers, and the way to its server"),
        "alerts": Check(alerts, "what the running server finds wrong itself"),
    }
)
