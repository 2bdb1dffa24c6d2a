"""The gate's table over many rounds: liars that go on lying are out after their first lie, honest clients never.

A client that is proved to have lied is out of the next round. research: "at most one void group for each named liar,
clean by round 4".
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest

from roughfed.secagg.groups import colluders

from .federation import make_federation
from .lies import LIES, check

KINDS = sorted(LIES)


@dataclass
class History:
    """What came of one federation, round by round."""

    void: list[int] = field(default_factory=list)
    left: list[int] = field(default_factory=list)
    named: int = 0
    crowded: int = 0  # liars not named in their round; all in void groups, or beside more liars than c

    def clean_from(self) -> int:
        """The first round, from 1, that begins without a liar."""
        return next((i + 2 for i, count in enumerate(self.left) if not count), 99)


def run(clients: int, liars: int, *, seed: int, rounds: int = 5, length: int = 4096, dim: int = 64) -> History:
    """Several rounds; each liar tells one lie of a random kind in each."""
    rng = np.random.default_rng([clients, liars, seed])
    names = [f"c{i:02d}" for i in range(clients)]
    lying = {str(n) for n in rng.choice(names, size=liars, replace=False)}
    history = History()
    for at in range(rounds):
        federation = make_federation(names, seed=1000 * seed + at, length=length, dim=dim)
        for round_ in federation.rounds:
            taken: set[str] = set()
            for liar in sorted(lying & set(round_.names)):
                kinds = [kind for kind in KINDS if not (hooks(kind) & taken)]
                kind = kinds[int(rng.integers(len(kinds)))]
                taken |= hooks(kind)
                LIES[kind][0](round_, liar)
        outcomes = federation.play()
        proved: set[str] = set()
        for round_, outcome in zip(federation.rounds, outcomes, strict=True):
            mine = lying & set(round_.names)
            check(round_, outcome, mine)
            if len(mine) == 1:  # a single liar is named in the round of its lie
                assert outcome.proofs.keys() == mine
            if len(mine) <= colluders(len(round_.names)) and outcome.total is not None:
                assert not set(outcome.accepted) & mine - outcome.proofs.keys()
            history.crowded += len(mine - outcome.proofs.keys())
            proved |= outcome.proofs.keys()
        assert proved <= lying  # an honest client is never named
        history.named += len(proved)
        history.void.append(sum(outcome.total is None for outcome in outcomes))
        lying -= proved
        history.left.append(len(lying))
        names = [name for name in names if name not in proved]
    return history


def hooks(kind: str) -> set[str]:
    """Lies that replace a hook of a round: two liars of one group cannot both use it."""
    if "honest claim" in kind or "true claim" in kind or "another update" in kind or "mask" in kind:
        return {"lanes"}
    return {"openings"} if "complaint" in kind else set()


TABLE = [(16, 1), (32, 1), (100, 1), (32, 5), (100, 5), (100, 20)]


def row(clients: int, liars: int, histories: list[History]) -> str:
    void = " ".join(f"{np.mean([h.void[i] for h in histories]):.2f}" for i in range(len(histories[0].void)))
    left = " ".join(f"{np.mean([h.left[i] for h in histories]):.1f}" for i in range(len(histories[0].left)))
    return f"| {clients} | {liars} | {void} | {left} |"


@pytest.mark.parametrize(("clients", "liars"), [(16, 1), (24, 2)])
def test_a_few_liars_are_out_after_their_first_lie(clients: int, liars: int) -> None:
    history = run(clients, liars, seed=1, rounds=3, length=2048)
    assert (history.named, history.left[-1], history.void[-1]) == (liars, 0, 0)
    assert sum(history.void) <= liars
    assert history.clean_from() <= 3


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_table_of_the_gate(capsys: pytest.CaptureFixture[str]) -> None:
    """Void groups and liars left in rounds 1 to 5; printed with -s or when it fails."""
    rows = ["| clients | liars | void groups in rounds 1-5 | liars left |", "|---|---|---|---|"]
    for clients, liars in TABLE:
        histories = [run(clients, liars, seed=seed) for seed in range(3 if clients == 100 else 6)]
        rows.append(row(clients, liars, histories))
        for history in histories:
            assert history.named == liars
            assert sum(history.void) <= liars
            assert history.clean_from() <= (2 if liars == 1 else 5)
    with capsys.disabled():
        print("\n" + "\n".join(rows))
