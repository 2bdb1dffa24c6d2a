"""A federation with hostile clients in it, for test_attacks.py.

Everybody is there before the first round. A liar lies from a round of its own on, so that there is never more than one
who lies: the one before is quarantined by then.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .federation import PATIENCE_S, Cluster, Process, Server, environment, write_toml

ATTACK = [sys.executable, "-m", "roughfed.deploy.attack"]
PARAMS = 20_000
HONEST = [f"h{i}" for i in range(5)]
AGREE = 0.6
"""Part that all updates have in common: among directions that have nothing to do with each other, one round's sketches
now and then make somebody look as if it pulled the other way."""


class HostileCluster(Cluster):
    """`crowd`: client -> the flags of its attack."""

    def __init__(self, folder: Path, crowd: Mapping[str, str], **options: Any) -> None:
        settings = {
            "privacy": {"server_sees": "sketches"},
            "round": {"min_clients": 4, "quorum": 0.5},
            "codec": {"clip_norm": 1.0},
        }
        for table, values in options.pop("settings", {}).items():
            settings[table] = settings.get(table, {}) | values
        super().__init__(folder, clients=0, settings=settings, **{"params": PARAMS, **options})
        self.crowd = dict(crowd)
        self.names = list(crowd)

    def start_paused_server(self, *, stage_s: float = 0.0, crash_at: str = "") -> Server:
        """A server that opens no round yet; `stage_s`: how long it waits for an answer, instead of half a minute."""
        patched = f"from roughfed.server.masked import drive; drive.STAGE_S = {stage_s}\n" if stage_s else ""
        args = ["server", "--dir", str(self.place.folder), "--params", str(self.params)]
        code = f"{patched}import sys\nfrom tests.e2e.synthetic_process import main\nsys.exit(main())"
        self.server = Server("server", [sys.executable, "-c", code, *args], environment(crash_at))
        self.processes.append(self.server)
        self.server.ready()
        self.control(op="pause")
        return self.server

    def start_attackers(self) -> dict[str, Process]:
        """Start everybody; the rounds begin when all are there."""
        started: dict[str, Process] = {}
        for name, flags in self.crowd.items():
            folder = self.client_folder(name)
            folder.mkdir()
            write_toml(
                folder / "client.toml", self.agreed({"http": {"enabled": False}, "policy": {"max_levels": 1 << 16}})
            )
            agree = [] if "--agree" in flags else ["--agree", str(AGREE)]
            args = [*ATTACK, *flags.split(), *agree, "--dir", str(folder), "--params", str(self.params)]
            env = environment() | {"ROUGHFED_JOIN": self.invite(name)}
            started[name] = Process(name, self.placed(name, args), env)
            self.processes.append(started[name])
        with self.watch() as watch:
            watch.until(
                lambda s: sum(c["connected"] for c in s["clients"]) == len(self.crowd), timeout_s=3 * PATIENCE_S
            )
        self.control(op="resume")
        return started

    def journal(self) -> dict[int, dict[str, Any]]:
        """Rounds as journaled: outcome, cohort, sets, void groups."""
        return {
            row["round"]: {
                "outcome": row["outcome"],
                "cohort": set(json.loads(row["cohort"])),
                "sets": json.loads(row["sets"] or "{}"),
                "void": [g["void"] for g in json.loads(row["summary"] or "{}").get("groups", []) if g["void"]],
            }
            for row in self.rows("SELECT * FROM rounds ORDER BY round")
        }

    def proofs(self) -> dict[str, tuple[int, str]]:
        """Client -> (round, reason) of every proof."""
        return {r["client"]: (r["round"], r["reason"]) for r in self.rows("SELECT * FROM proofs")}
