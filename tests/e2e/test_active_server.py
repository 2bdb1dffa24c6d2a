"""A server that cheats, over real client processes with default settings: they refuse, and it has learnt nothing.

`roughfed.deploy.audit.active` has the server and its attacks; here each client is a process of its own, enrolled by a
join line. The first test is what makes the others mean something: by the book, the same server is answered.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from roughfed.config.client import PolicySettings
from roughfed.crypto.join_line import VARIABLE, JoinLine
from roughfed.deploy.audit.active.attacks import ATTACKS
from roughfed.deploy.audit.active.result import Loot, cosine
from roughfed.deploy.audit.active.round import play
from roughfed.deploy.audit.active.scene import VICTIM, AttackScene, model, scene
from roughfed.deploy.audit.active.trainer import EPOCH, Learning

from .federation import environment
from .process import PATIENCE_S, Process

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

ROUNDS = PolicySettings().max_model_rounds
"""In so many rounds on one model a client shows its sketches; what they say of an update is no secret."""

CLIENT = [sys.executable, "-m", "roughfed.deploy.audit.active"]


class Outside:
    """A client process."""

    def __init__(self, folder: Path, index: int, learning: Learning, line: JoinLine, policy: Mapping[str, str]) -> None:
        settings = [word for name, value in asdict(learning).items() for word in (f"--{name}", str(value))]
        args = [*CLIENT, "--dir", str(folder), "--index", str(index), *settings]
        self.process = Process(folder.name, args, environment() | {VARIABLE: line.reveal()} | policy)
        waiting = ThreadPoolExecutor(1)  # of its own: those of the loop are few, and the server needs them
        self._ended = asyncio.get_running_loop().run_in_executor(waiting, self._wait)
        waiting.shutdown(wait=False)

    def _wait(self) -> int:
        return self.process.wait(timeout_s=10 * PATIENCE_S)

    async def ended(self) -> str:
        status = await asyncio.shield(self._ended)
        return f"status {status}: {self.process.lines[-1] if self.process.lines else ''}"

    async def stop(self) -> None:
        self.process.signal(signal.SIGTERM)
        try:
            await self._ended
        finally:
            self.process.close()


class Raid:
    """An attack, and what the processes said meanwhile."""

    def __init__(
        self,
        folder: Path,
        play_it: Callable[[AttackScene], Awaitable[Loot]],
        *,
        honest: int,
        colluders: int,
        **policy: int,
    ) -> None:
        variables = {f"ROUGHFED_POLICY__{key.upper()}": str(value) for key, value in policy.items()}
        self.clients: dict[str, Outside] = {}

        def start(place: Path, index: int, learning: Learning, line: JoinLine) -> Outside:
            self.clients[place.name] = Outside(place, index, learning, line, variables)
            return self.clients[place.name]

        async def go() -> Loot:
            async with scene(folder, honest=honest, colluders=colluders, learning=EPOCH, start=start) as found:
                return await play_it(found)

        self.loot = asyncio.run(go())

    def complaints(self, name: str) -> list[str]:
        """What a client's log has against its server."""
        lines = [json.loads(line) for line in self.clients[name].process.lines if line.startswith("{")]
        said = [line["msg"] for line in lines if line["level"] in ("WARNING", "ERROR")]
        return said + [line for line in self.clients[name].process.lines if line.startswith("error:")]

    def report(self) -> str:
        """For an assertion."""
        return f"{self.loot}; " + "; ".join(f"{name}: {self.complaints(name)}" for name in self.clients)


def raid(folder: Path, name: str, **policy: int) -> Raid:
    attack = ATTACKS[name]
    return Raid(folder, attack.play, honest=attack.honest, colluders=attack.colluders, **policy)


def holds(found: Raid, *names: str) -> None:
    """Nothing was learnt, because a client said no, and why; each of `names` has it in its log."""
    assert not found.loot.succeeded, found.report()
    assert found.loot.refused, found.report()
    assert not any("silent" in why for why in found.loot.refused), found.report()
    for name in names:
        assert found.complaints(name), found.report()


def test_by_the_book_the_same_server_is_answered(tmp_path: Path) -> None:
    async def honest(found: AttackScene) -> Loot:
        opened = found.server.open(model(), len(found.clients), clip_norm=2 * found.usual_norm())
        summed = await play(found.server, opened, found.clients)
        truth = np.sum([found.truth(name) for name in found.clients], axis=0)
        return Loot(1, cosine(summed.total, truth), 0.0)

    found = Raid(tmp_path, honest, honest=4, colluders=0)
    assert found.loot.reached is not None
    assert found.loot.reached > 0.99
    assert not any(found.complaints(name) for name in found.clients)


def test_members_that_left_do_not_count_towards_a_sum(tmp_path: Path) -> None:
    holds(raid(tmp_path, "phantom members"))


@pytest.mark.slow
def test_members_that_left_do_not_count_in_a_group_of_ten(tmp_path: Path) -> None:
    holds(raid(tmp_path, "phantom members, 10"))


def test_a_client_of_a_masked_run_gives_no_plain_update(tmp_path: Path) -> None:
    found = raid(tmp_path, "downgrade")
    holds(found, VICTIM)
    assert any("updates" in said for said in found.complaints(VICTIM)), found.report()


def test_a_run_of_another_name_is_told_no_class_counts_again(tmp_path: Path) -> None:
    holds(raid(tmp_path, "renamed run"))


def test_sketches_of_a_model_that_stands_still_do_not_add_up(tmp_path: Path) -> None:
    found = raid(tmp_path, "frozen model")
    assert found.loot.refused, found.report()
    assert found.loot.rounds <= ROUNDS, found.report()
    assert found.complaints(VICTIM), found.report()


def test_two_sums_never_differ_by_one_client(tmp_path: Path) -> None:
    holds(raid(tmp_path, "differencing", max_differences=0))


def test_by_default_a_few_sums_on_a_model_may_differ_by_one_client(tmp_path: Path) -> None:
    """They let a federation go on after rounds that were void; what they tell is in docs/privacy.md."""
    found = raid(tmp_path, "differencing x 12")
    assert found.loot.refused, found.report()
    assert found.loot.rounds <= 1 + ROUNDS, found.report()
    assert found.loot.reached is not None
    assert found.loot.reached < 0.95


@pytest.mark.slow
def test_pairs_of_sums_over_many_rounds_never_differ_by_one_client(tmp_path: Path) -> None:
    holds(raid(tmp_path, "differencing x 12", max_differences=0))


def test_a_question_that_no_cluster_needs_is_not_answered(tmp_path: Path) -> None:
    holds(raid(tmp_path, "unsolicited choices"), VICTIM)


def test_groups_of_a_beacon_that_nobody_drew_are_refused(tmp_path: Path) -> None:
    holds(raid(tmp_path, "invented beacon"), VICTIM)
