"""What a client's directory knows of its membership: for `roughfed status` and the doctor, whether it runs or not."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

from roughfed.client.disclosure.mode import allowed, bound, refusals
from roughfed.client.members import credential_files
from roughfed.client.members.credential_files import Credentials
from roughfed.client.storage.store import ClientStore
from roughfed.config.client import ClientConfig
from roughfed.config.federation import FederationConfig
from roughfed.crypto import certificates
from roughfed.deploy import agent
from roughfed.lock import held_elsewhere


def is_client(folder: Path) -> bool:
    """Whether a client lives in a directory, enrolled or not yet."""
    if (folder / FederationConfig.FILE).exists():
        return False
    return (folder / ClientConfig.FILE).exists() or (
        agent.ClientFiles(folder).papers / credential_files.RECORD
    ).exists()


def membership(folder: Path) -> dict[str, Any]:
    """The state of an enrolled client: times are Unix times, the federation is named by its CA, too.

    Raises:
        ConfigError: it is not enrolled, or client.toml is wrong.
        StorageError: its memory cannot be read.
    """
    place = agent.ClientFiles(folder)
    papers = credential_files.load(place.papers)
    written = (folder / ClientConfig.FILE).exists()
    config = agent.load(folder, {}) if written else ClientConfig()
    return {
        "role": "client",
        "running": bool(held_elsewhere(place.state)),
        "name": papers.name,
        "federation": papers.subject.federation,
        "ca": certificates.fingerprint(papers.ca_certificate).hex(),
        "server": config.client.server or papers.record.federation_address,
        "certificate_ends": time.time() + credential_files.until_end(papers),
        **shown(place.state, papers, config.policy.server_sees),
    }


def shown(state: Path, papers: Credentials, policy: str) -> dict[str, Any]:
    """How much the server may see, who said so, what it asked for in vain, and the rounds with this client's update."""
    federation = certificates.fingerprint(papers.ca_certificate)
    with closing(ClientStore(state)) as store:
        noted = bound(store, federation)
        rounds = store.rounds_used()
        return {
            "server_sees": allowed(store, federation, policy),
            "policy": policy,
            "accepted": None if noted is None else asdict(noted),
            "refused": [asdict(each) for each in refusals(store, federation)],
            "rounds": len(rounds),
            "runs": len({run for run, _ in rounds}),
        }
