"""What a run needs of this machine, as far as it is known before it runs."""

from __future__ import annotations

import sqlite3
from contextlib import closing, suppress
from dataclasses import dataclass

from roughfed.deploy.doctor.manifest import known_shapes
from roughfed.deploy.doctor.site import DoctorSite
from roughfed.server.members.authority import DATABASE

MIB = 1 << 20
FILES_OF_OWN, FILES_OF_CLIENT = 128, 3  # a session, a transfer and its spool file
SERVER_BYTES, TRAINER_BYTES = 300 * MIB, 512 * MIB  # Python, gRPC and numpy; torch
COPIES_TO_TRAIN = 4  # weights, gradients, the optimizer's memory, what came from the server


@dataclass(frozen=True, slots=True)
class Needs:
    """Bytes and files.

    Attributes:
        disk_bytes: of the state directory.
        memory_bytes: of the processes.
        trainer_bytes: of the device that trains; 0 when the model is not known.
        files: open at once.
        known: whether the model's size is known.
        words: how `disk_bytes` comes about.
    """

    disk_bytes: int
    memory_bytes: int
    trainer_bytes: int
    files: int
    known: bool
    words: str


def needs(site: DoctorSite) -> Needs:
    """What this directory's server or client needs."""
    model = 4 * sum(_product(shape) for shape in known_shapes(site).values())
    if site.federation is not None:
        clients = max(site.federation.clients_to_start, living_members(site))
        versions = site.federation.model.keep_last + site.federation.model.keep_best + 1
        disk = model * (versions + site.federation.round.invited(clients))
        words = f"{versions} versions of the model and {clients} updates of {model / MIB:.1f} MiB each"
        memory = SERVER_BYTES + TRAINER_BYTES + 3 * model
        return Needs(disk, memory, COPIES_TO_TRAIN * model, FILES_OF_OWN + FILES_OF_CLIENT * clients, model > 0, words)
    words = f"two versions of the model and two updates of {model / MIB:.1f} MiB each"
    trainer = COPIES_TO_TRAIN * model
    return Needs(4 * model, TRAINER_BYTES + trainer, trainer, FILES_OF_OWN, model > 0, words)


def living_members(site: DoctorSite) -> int:
    """Clients that may come; 0 when the list is elsewhere."""
    path = site.state / "ca" / DATABASE
    with suppress(sqlite3.Error), closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=2.0)) as db:
        sql = "SELECT COUNT(*) FROM members WHERE role = 'client' AND revoked_at IS NULL"
        return int(db.execute(sql).fetchone()[0])
    return 0


def _product(shape: tuple[int, ...]) -> int:
    total = 1
    for length in shape:
        total *= length
    return total
