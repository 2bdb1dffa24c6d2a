"""A page without a federation: a journal full of made-up rounds, and a made-up status, behind the real HTTP server."""

from __future__ import annotations

import asyncio
import json
import math
import random
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from roughfed.config.federation import FederationConfig, Privacy
from roughfed.httpd import Access, EventStream, Feed, HttpServer, Response
from roughfed.server.observe import page
from roughfed.server.observe.round_history import Played
from roughfed.server.storage.store import Store
from roughfed.types import Evaluation, RoundHeader, Spec, TensorSpec
from roughfed.wire.session import encode_header

SPEC = Spec((TensorSpec("w", (1_200_000,)),))
CLASSES = 10
HOSTILE = '<img src=x onerror="document.title=1">\u202egnp.exe'
REASONS = ("multi-krum", "disagrees", "copy", "norm")


def names(clients: int) -> list[str]:
    return [f"hospital-{number:03}" for number in range(clients)]


def fill(folder: Path, *, clients: int, rounds: int, masked: bool = False, seed: int = 1) -> None:
    """Write the journal of a run that has come so far."""
    rng, people = random.Random(seed), names(clients)
    sees = "sketches" if masked else "updates"
    began = time.time() - rounds * 95.0
    models, rows, evaluations = [], [], []
    for number in range(1, rounds + 1):
        opened, share = began + number * 95.0, 1 - math.exp(-number / (rounds / 4))
        committed = number % 37 != 36
        asked = sorted(rng.sample(people, max(2, round(0.9 * clients))))
        sets = {name: rng.choices(["", "gone", rng.choice(REASONS)], [0.94, 0.035, 0.025])[0] for name in asked}
        header = RoundHeader(
            run="calm-otter-7", round=number, model_version=number - 1, model_digest=bytes(32), spec_digest=SPEC.digest,
            previous_header_digest=bytes(32), codec="lanes" if masked else "int8", server_sees=sees,
            roster_root=bytes(32), deadline_s=600.0,
        )  # fmt: skip
        seconds = {"configure": 0.4, "report": 55 + 20 * rng.random(), "aggregate": 3 + rng.random(), "commit": 0.7,
                   "evaluate": 4 + rng.random()} | ({"unmask": 6 + 2 * rng.random()} if masked else {})  # fmt: skip
        scores = {name: rng.random() + (2 if why in REASONS else 0) for name, why in sets.items()}
        summary: dict[str, Any] = {
            "seconds": sum(seconds.values()), "phase_seconds": seconds,
            "upload_bytes": len(asked) * 1_210_000, "download_bytes": len(asked) * 1_300_000,
            "train_seconds": 41.0, "train_metrics": {"loss": 2.1 * (1 - share) + 0.2 + 0.05 * rng.random()},
            "defence": {"rule": "multi-krum", "f": 20, "judged": len(asked), "scores": scores, "weights": {},
                        "excluded": {name: why for name, why in sets.items() if why in REASONS}},
            "spread": {"global": {"clients": clients, "mean": 0.3 + 0.6 * share, "std": 0.1,
                                  "worst10": 0.1 + 0.55 * share, "best10": 0.4 + 0.58 * share}},
        }  # fmt: skip
        if masked:
            groups = [asked[at : at + 12] for at in range(0, len(asked), 12)]
            summary["groups"] = [{"members": g, "void": "" if at else "void"} for at, g in enumerate(groups)]
        rows.append((number, encode_header(header), b"s", "server", json.dumps(asked), len(asked), opened,
                     json.dumps(sets), "committed" if committed else "abandoned", "" if committed else "3 of 9",
                     opened + summary["seconds"], json.dumps(summary)))  # fmt: skip
        version = len(models) + 1
        if committed:
            models.append((version, version.to_bytes(32, "big"), number, opened, version - 1, version))
            tested = [300 - 30 * c for c in range(CLASSES)]
            share_of = [share * (0.97 - 0.045 * c) + 0.05 * rng.random() for c in range(CLASSES)]
            right = [round(n * min(0.99, p)) for n, p in zip(tested, share_of, strict=True)]
            found = Evaluation(bytes(32), sum(tested), sum(tested) * (1.2 - share), tuple(tested), tuple(right))
            counts = [tested, right, 0.0, [], []]
            row = [bytes(32).hex(), found.num_examples, found.loss_sum, *counts]
            evaluations.append((version, "", json.dumps(row)))
    counted = {"class-count": [5000, 3000, 1500, 900, 500, 260, 140, 70, 40, 20]}

    def work(db: sqlite3.Connection) -> None:
        columns = "version, digest, round, committed_at, base, depth"
        db.executemany(f"INSERT INTO models ({columns}) VALUES (?,?,?,?,?,?)", models)
        columns = "round, header, signature, signer, cohort, goal, opened_at, sets, outcome, reason, closed_at, summary"
        db.executemany(f"INSERT INTO rounds ({columns}) VALUES (?,?,?,?,?,?,?,?,?,?,?,?)", rows)
        db.executemany("INSERT INTO evaluations (version, source, evaluation) VALUES (?, ?, ?)", evaluations)
        db.execute("INSERT INTO statics VALUES ('ann', ?)", (json.dumps(counted),))

    async def write(store: Store) -> None:
        await store.create_run("calm-otter-7", SPEC, bytes(32), began)
        await store.journal.write(work)

    with closing(Store(folder)) as store:
        asyncio.run(write(store))


def alerts() -> list[dict[str, Any]]:
    now = time.time()
    return [
        {"name": "TailAccuracyDrop", "severity": "critical", "since": now - 900, "cure": "see who was left out",
         "text": "Accuracy on rare classes fell by 8 points below its median of the last 5 rounds."},
        {"name": "ClientCertExpiring", "severity": "warning", "since": now - 7200, "cure": "is it on?",
         "text": "The certificate of hospital-017 ends in 20 h and was not renewed."},
    ]  # fmt: skip


def status(
    *, clients: int, rounds: int, masked: bool = False, wrong: bool = True, hostile: bool = True
) -> dict[str, Any]:
    """What `roughfed.server.observe.status` says in the middle of a round."""
    rng, now, people = random.Random(2), time.time(), names(clients)
    people = [HOSTILE if hostile else people[0], *people[1:]]
    states = ["training"] * 5 + ["received"] * 4 + ["uploading", "downloading", "idle", "gone", "refused: norm"]
    verdicts = [{"client": n, "reason": "multi-krum" if at % 29 == 3 else "", "score": rng.random() * 3} for at, n in
                enumerate(people)]  # fmt: skip
    return {
        "version": "0.1.0", "protocol": 1, "schema": 14, "run": "calm-otter-7", "federation": "northern-hospitals",
        "server_sees": "sketches" if masked else "updates", "alerts": alerts() if wrong else [],
        "phase": "report", "round": rounds + 1, "rounds": rounds + 100, "last_round": rounds + 103,
        "model_version": rounds, "model_digest": "5c" * 32,
        "parameters": 1_200_000, "finished": None, "paused": False, "uptime_s": 93_211.0, "round_seconds": 48.2,
        "deadline_at": now + 552, "upload_bytes": 93_000_000, "download_bytes": 260_000_000, "accuracy": 0.871,
        "balanced_accuracy": 0.812, "worst_class_accuracy": 0.61, "loss": 0.41, "measured_by": "server",
        "needed": {"goal": clients, "quorum": round(0.8 * clients)}, "min_clients": round(0.8 * clients), "waiting": "",
        "stage": "masking" if masked else None,
        "groups": [{"members": people[at : at + 12], "stage": "masking" if at else "sketching"}
                   for at in range(0, clients, 12)] if masked else [],
        "quarantined": {people[0]: "false-sketch"},
        "defence": {"rule": "multi-krum", "f": 0.1,
                    "excluded": {people[-2]: {"multi-krum": 41, "copy": 2}, people[0]: {"norm": 3}},
                    "round": rounds, "judged": clients, "tolerated": clients // 10, "verdicts": verdicts,
                    "scores": {v["client"]: v["score"] for v in verdicts}},
        "heterogeneity": {
            "spread": {"round": rounds, "found": {
                "global": {"clients": clients, "mean": 0.87, "std": 0.09, "worst10": 0.66, "best10": 0.97},
                "personal": {"clients": clients, "mean": 0.91, "std": 0.05, "worst10": 0.79, "best10": 0.98},
                "worse_than_alone": 0.04}},
            "fairness": {"round": rounds, "found": {"rule": "q-fedavg", "q": 1.0, "weights": {
                n: 0.6 + rng.random() for n in people}}},
            "contribution": {"round": rounds, "found": {
                "method": "gtg-shapley", "free_riders": {people[-1]: "noise"},
                "scores": {n: {"round": 0.01, "total": rng.gauss(0.4, 0.2)} for n in people}}},
        },
        "certificates": [{"role": "ca", "expires_at": now + 3000 * 86400}, {"role": "server", "expires_at": now + 5e5}],
        "disk": {"free_bytes": 61e9, "total_bytes": 250e9, "journal_bytes": 41e6, "blob_bytes": 180e6},
        "phase_seconds": {"configure": 0.4, "report": 47.8}, "history": [],
        "clients": [
            {"name": n, "connected": (state := states[at % len(states)]) != "gone", "state": state, "back_at": None,
             "progress": rng.random() if state == "training" else 0.0, "device": rng.choice(["cpu", "cuda:0"]),
             "software": "roughfed 0.1.0", "in_cohort": at % 10 != 0, "since": now - 9000,
             "last_seen_s": rng.random() * 20,
             "expires_at": now + 86400 * (0.9 + rng.random() * 6), "accepted": rounds - at % 30, "excluded": at % 7,
             "machine": {"rss_bytes": 8e8, "gpu_memory_bytes": 3e9, "gpu_utilization": 0.8, "train_seconds": 41.0,
                         "samples": 4000, "time": now}, "held": ""}
            for at, n in enumerate(people)
        ],
    }  # fmt: skip


class Canned:
    """The page over a journal and a status that a test gives."""

    def __init__(self, folder: Path, *, masked: bool = False, token: str = "") -> None:
        config = FederationConfig(privacy=Privacy(server_sees="sketches" if masked else "updates"))
        self.feed, self.status, self._played = Feed(), b"{}", Played(folder, config)
        files = page.files()
        transfer = [{"direction": "up", "codec": "lanes", "bytes": 6.5e10},
                    {"direction": "down", "codec": "int8", "bytes": 7e10},
                    {"direction": "down", "codec": "identity", "bytes": 9.6e8}]  # fmt: skip
        routes = {
            **files,
            "/api/status": lambda _: Response(self.status, "application/json"),
            "/api/rounds": lambda r: Response(
                self._played.after(int(r.query["after"]), {"transfer": transfer}), "application/json"
            ),
            "/api/events": lambda _: EventStream(self.feed),
        }
        access = Access(token, open_paths={*files, "/healthz"}) if token else None
        self.http = HttpServer("127.0.0.1", 0, routes, access=access)
        self.url = f"http://127.0.0.1:{self.http.port}/"

    def measured(self) -> dict[str, Any]:
        """What the newest round was found to be worth, as a status says it."""
        last = json.loads(self._played.after(0))["rounds"][-1]
        names = {"accuracy": "accuracy", "balanced_accuracy": "balanced_accuracy", "loss": "loss"}
        return {key: last[name] for key, name in (names | {"worst_class_accuracy": "worst_class"}).items()}

    def say(self, found: dict[str, Any]) -> None:
        """Publish a status, and the news of a round."""
        self.status = json.dumps(found).encode()
        self.feed.publish("status", self.status)
        self.feed.publish("round", b"{}")

    def close(self) -> None:
        self.feed.close(patience_s=1.0)
        self.http.stop()
        self._played.close()


@contextmanager
def canned(folder: Path, *, clients: int, rounds: int, masked: bool = False, token: str = "") -> Iterator[Canned]:
    """A page with so many clients and rounds, in the middle of a round."""
    fill(folder, clients=clients, rounds=rounds, masked=masked)
    site = Canned(folder, masked=masked, token=token)
    site.say(status(clients=clients, rounds=rounds, masked=masked))
    try:
        yield site
    finally:
        site.close()
