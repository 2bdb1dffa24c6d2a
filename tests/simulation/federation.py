"""All groups of a round at once, over the machines: one root for all uploads, messages that are late, lost or repeated.

Each group is a `Round` (with its hooks for liars); what clients send goes through a post that delivers in any order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from roughfed.crypto.merkle import merkle_path, merkle_root
from roughfed.errors import ProtocolError
from roughfed.secagg import messages as m
from roughfed.secagg.client import ClientRound, Policy
from roughfed.secagg.groups import group_sizes
from roughfed.secagg.roster import deal_groups, make_cohort
from roughfed.secagg.server import GroupRound, Outcome, Stage
from roughfed.secagg.terms import Party, Terms
from roughfed.types import Signed

from .secagg import STAGES, Round, StageWire, honest_codes, identity, make_terms, nonce, open_entry

Take = Callable[[Signed], object]


@dataclass
class Post:
    """Carries what clients send. `late`: share of messages that arrive a stage later, `twice`: of those repeated."""

    rng: np.random.Generator
    late: float = 0.0
    twice: float = 0.0
    now: list[tuple[Round, Take, Signed]] = field(default_factory=list)
    next: list[tuple[Round, Take, Signed]] = field(default_factory=list)
    refused: int = 0

    def send(self, round_: Round, take: Take, signed: Signed) -> None:
        """Hand a message in; it may take its time."""
        queue = self.next if self.rng.random() < self.late else self.now
        queue.append((round_, take, signed))
        if self.rng.random() < self.twice:
            (self.next if self.rng.random() < 0.5 else self.now).append((round_, take, signed))

    def deliver(self) -> None:
        """Everything that is due, in any order."""
        due, self.now, self.next = self.now, self.next, []
        for at in self.rng.permutation(len(due)):
            round_, take, signed = due[at]
            try:
                take(signed)
            except ProtocolError as error:
                round_.turned_away[signed.signer] = error
                self.refused += 1


@dataclass
class Federation:
    """One round of all groups."""

    rounds: list[Round]
    groups: list[GroupRound]
    post: Post
    rejected: Mapping[str, str] = field(default_factory=dict)

    def play(self) -> list[Outcome]:
        """From the roster to the sums, stage by stage, all groups together."""
        self.deal()
        self.mask()
        if self.rounds[0].terms.dim:
            self.sketch()
        return self.unmask()

    def deal(self) -> None:
        for round_, group in self.both():
            roster = round_.roster([round_.clients[name].advert for name in round_.names])
            for name in round_.names:
                if round_.here(name, "share"):
                    for signed in round_.tell(name, roster):
                        self.post.send(round_, group.take_shares, round_.bend_shares(name, signed))
        self.post.deliver()
        for round_, group in self.both():
            deals = group.close_dealing()
            for name in group.dealers:
                for signed in [*round_.tell(name, deals), *round_.extra_openings(name)]:
                    self.post.send(round_, group.take_opening, signed)
        self.post.deliver()

    def mask(self) -> None:
        for round_, group in self.both():
            round_.mask(group)

    def sketch(self) -> None:
        leaves = [group.uploads_root for group in self.groups]
        root = merkle_root(leaves)
        for at, (round_, group) in enumerate(self.both()):
            seed = group.seed_for(root, merkle_path(leaves, at), at, len(leaves))
            for name in group.uploaded:
                if round_.here(name, "sketch"):
                    for signed in round_.tell(name, seed, round_.by_server(m.SEED_DOMAIN, seed)):
                        self.post.send(round_, group.take_sketch, round_.bend_sketch(name, signed))
        self.post.deliver()
        for round_, group in self.both():
            for name, conflict in group.conflicts():
                if round_.here(name, "sketch"):
                    for signed in round_.tell(name, conflict):
                        if (bent := round_.bend_opening(name, signed)) is not None:
                            self.post.send(round_, group.take_opening, bent)
        self.post.deliver()
        for _, group in self.both():
            group.close_sketching()

    def unmask(self) -> list[Outcome]:
        for round_, group in self.both():
            if (sets := group.name_sets(self.rejected)) is None:
                continue
            signed = round_.by_server(m.SETS_DOMAIN, sets)
            group.sets_signed(signed)
            for name in group.dealers:
                if round_.here(name, "consistency") and round_.clients[name].state.name in ("MASKED", "SKETCHED"):
                    for answer in round_.tell(name, sets, signed):
                        self.post.send(round_, group.take_consistency, answer)
        self.post.deliver()
        for round_, group in self.both():
            if group.stage is not Stage.AGREEING or (request := group.unmask_request()) is None:
                continue
            for name in group.dealers:
                if round_.here(name, "unmask") and round_.clients[name].state.name == "AGREED":
                    for answer in round_.tell(name, request):
                        self.post.send(round_, group.take_unmask, round_.bend_unmask(name, answer))
        self.post.deliver()
        return [group.finish(round_.lanes.__getitem__) for round_, group in self.both()]

    def both(self) -> list[tuple[Round, GroupRound]]:
        return list(zip(self.rounds, self.groups, strict=True))


def make_federation(
    names: Sequence[str], *, seed: int, length: int = 1024, dim: int = 32, bits: int = 8, post: Post | None = None
) -> Federation:
    """A round of these clients in their groups, everybody honest so far; codes of 0.7 C."""
    largest = group_sizes(len(names))[0]
    terms: Terms = make_terms(largest, length=length, bits=bits, dim=dim, seed=seed)
    rng = np.random.default_rng([seed, len(names)])
    machines: dict[str, ClientRound] = {}
    for name in names:
        party = Party(name, identity(name).sign, open_entry, StageWire())
        secret = hashlib.sha256(f"{name} {seed}".encode()).digest()
        machines[name] = ClientRound(terms, party, secret, Policy(largest_dim=1024))
    cohort = make_cohort([machine.advert for machine in machines.values()])
    dealt = deal_groups(cohort, terms.previous_header_digest, nonce(seed))
    rounds: list[Round] = []
    groups: list[GroupRound] = []
    for number, members in enumerate(dealt):
        codes = {name: honest_codes(terms, rng, norm=0.7) for name in members}
        mine = {name: machines[name] for name in members}
        rounds.append(Round(terms, members, codes, seed=seed, group=number, cohort=cohort, clients=mine))
        keys = {name: identity(name).public_key for name in members}
        adverts = [machines[name].advert for name in members]
        groups.append(GroupRound(terms, number, adverts, keys, StageWire(), cohort=cohort))
    return Federation(rounds, groups, post or Post(rng))


def lose(federation: Federation, rng: np.random.Generator, share: float) -> None:
    """Clients that are gone from some stage on."""
    for at, round_ in enumerate(federation.rounds):
        lost: dict[str, set[str]] = {}
        for name in round_.names:
            if rng.random() < share:
                lost.setdefault(STAGES[int(rng.integers(1, len(STAGES)))], set()).add(name)
        federation.rounds[at] = replace(round_, lost=lost)
