"""After the answers: the secrets put together, and every accepted upload held against what its client signed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import numpy as np

from roughfed.crypto.masks import Lanes, Sign
from roughfed.secagg import messages as m
from roughfed.secagg.evidence import Bulletin, Recovery, judge_tags
from roughfed.sketch.buckets import Sketcher
from roughfed.types import Signed

Timing = Callable[[str], AbstractContextManager[object]]
"""Kind of work -> what goes around it, to see how long it takes: there is no clock in here."""


def untimed(_work: str) -> AbstractContextManager[object]:
    """Nobody wants to know."""
    return nullcontext()


@dataclass
class Outcome:
    """What became of a group.

    Attributes:
        total: sum of the accepted clients' codes, exact, in lanes [D]; None when the group is void.
        tail: sum of what rode behind the codes, in lanes.
        accepted: who is in it.
        void: why it is void, "" otherwise.
        proofs: who is proved to have broken the protocol, and how.
        noted: who failed in a way that proves nothing (silence, an unresolved dispute).
    """

    total: Lanes | None
    accepted: tuple[str, ...]
    void: str = ""
    proofs: dict[str, str] = field(default_factory=dict[str, str])
    noted: dict[str, str] = field(default_factory=dict[str, str])
    tail: Lanes = field(default_factory=lambda: np.empty(0, dtype=np.uint8))


@dataclass(frozen=True, slots=True)
class Claim:
    """A client's sketch as it was signed: of its codes, and of the mask of each of its pairs."""

    signed: Signed
    codes: Lanes
    pairs: Mapping[str, Lanes]


@dataclass(frozen=True, slots=True)
class Secrets:
    """What the answers give: the keys of the self masks, and of the pair masks (mate, excluded) -> K."""

    own: Mapping[str, bytes]
    pairs: Mapping[tuple[str, str], bytes]

    def masks(self) -> list[tuple[bytes, Sign]]:
        """What must be added to the sum of the uploads: minus the self masks and the masks with the excluded."""
        masks: list[tuple[bytes, Sign]] = [(key, -1) for key in self.own.values()]
        for (name, other), key in self.pairs.items():
            if name in self.own:
                masks.append((key, -1 if name < other else 1))
        return masks


def recover(recovery: Recovery, sets: m.Sets, answers: Mapping[str, m.Unmask]) -> Secrets | None:
    """Put the secrets together.

    Args:
        recovery: of the group; names who answered or dealt wrongly.
        sets: A and X.
        answers: holder -> its shares.

    Returns:
        None when a secret that is needed cannot be had. All are tried, so that all who are at fault are named; also
        those of clients that were left out: of false tags they tell whose they were.
    """
    board: Bulletin = recovery.board
    own = {name: recovery.self_mask(name, _given(answers, name, accepted=True)) for name in sets.accepted}
    every = {name: recovery.mask_secret(name, _given(answers, name, accepted=False)) for name, _ in sets.excluded}
    for name, secret in recovery.mask_secrets.items():
        for liar, reason in judge_tags(board, name, secret).items():
            recovery.proofs.setdefault(liar, reason)
    gone = {name: secret for name, secret in every.items() if board.mates(name)}  # who has no mate masks with nobody
    found_own = {name: key for name, key in own.items() if key is not None}
    found = {name: secret for name, secret in gone.items() if secret is not None}
    if len(found_own) < len(own) or len(found) < len(gone):
        return None
    pairs = {
        (name, other): board.mask_key(secret, other, name)
        for other, secret in found.items()
        for name in board.mates(other)
    }
    return Secrets(found_own, pairs)


def is_true(name: str, lanes: Lanes, claims: Mapping[str, Claim], *, at: Sketcher, secrets: Secrets) -> bool:
    """S(y) - S(self mask) - the signed sketches of its pair masks must be the sketch of the codes."""
    claim = claims[name]
    rest = at.of_codes(lanes) - at.of_mask(secrets.own[name])
    masks: list[tuple[str, Lanes]] = list(claim.pairs.items())
    for (mate, other), key in secrets.pairs.items():
        if mate == name and other not in claim.pairs:  # it uploaded nothing
            masks.append((other, at.of_mask(key)))
    for mate, mask in masks:
        rest = rest - mask if name < mate else rest + mask
    return np.array_equal(rest, claim.codes)


def false_pairs(claims: Mapping[str, Claim], sketcher: Sketcher, secrets: Secrets) -> set[str]:
    """Who signed a sketch of a pair's mask that does not fit the key, of the keys that are known by now."""
    liars: set[str] = set()
    for (name, other), key in secrets.pairs.items():
        truth = sketcher.of_mask(key)
        for signer, mate in ((name, other), (other, name)):
            signed = claims[signer].pairs.get(mate) if signer in claims else None
            if signed is not None and not np.array_equal(signed, truth):
                liars.add(signer)
    return liars


def _given(answers: Mapping[str, m.Unmask], dealer: str, *, accepted: bool) -> dict[str, bytes]:
    """Answers about one dealer: holder -> share."""
    found: dict[str, bytes] = {}
    for holder, answer in sorted(answers.items()):
        shares = dict(answer.self_mask if accepted else answer.mask_secret)
        if dealer in shares:
            found[holder] = shares[dealer]
    return found
