"""The models that a run of masked rounds must have committed, computed again from seeds: no mask, no server.

Each client's update is made, fed what its earlier ones did not say, clipped, rotated and rounded as that client did it;
the codes of those that count are added up as plain integers, and the sum becomes the next model. What goes in is the
clients' seeds or, where they train for real, what they trained; the seed of their secrets; and from the journal the
signed headers and who was accepted. If one mask did not cancel, one update counted twice, or one residual was lost, the
digest would be another.

Whole vectors are held, one for each client: for models of a bench or a test.

D parameters, M codes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from roughfed.client.round.masked_part import DITHER
from roughfed.codec import chain
from roughfed.codec.downlink import quantise
from roughfed.codec.plan import Summed
from roughfed.crypto.agreement import derive as derive_key
from roughfed.deploy.speed.process import round_secret
from roughfed.deploy.synthetic import update_of
from roughfed.digest import content_digest
from roughfed.masked_round import masking_of
from roughfed.rng import derive
from roughfed.secagg.adverts import FULL
from roughfed.server.masked.merging import mean_of_sums
from roughfed.tiers import STANDARD, feeds_back, header_for, names_of
from roughfed.types import RoundHeader, Signed
from roughfed.wire.session import decode_header

Flat = NDArray[np.float32]

Deltas = Callable[[str, int], Flat]
"""(client, round) -> what it trained there, local minus global, float32 [D]."""


@dataclass(frozen=True, slots=True)
class JournaledRound:
    """A round as the server's journal tells it.

    Attributes:
        number: of the round.
        header: as it was signed.
        accepted: whose updates are in the sum; empty when the round was abandoned.
        quarters: weight class of those who weigh themselves down, 1 to 3.
        tiers: the tier of clients of those who sit in another one than the standard tier.
    """

    number: int
    header: Signed
    accepted: Sequence[str]
    quarters: Mapping[str, int] = field(default_factory=dict[str, int])
    tiers: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class Seeds:
    """What everything random follows from: the federation's seed, and that of the clients' secrets."""

    federation: int
    secret: int


def model_digests(
    params: int, rounds: Iterable[JournaledRound], *, seeds: Seeds, quantised: bool = True
) -> list[bytes]:
    """Digest of each version, from the model of zeros on, where updates are made up from seeds.

    Args:
        params: D.
        rounds: all rounds of the run, in order.
        seeds: of the run.
        quantised: whether models go down as quantised deltas.

    Returns:
        one digest of 32 bytes for version 0 and for each round with accepted clients.
    """
    clients = Clients(made_up(params, seeds.federation), seeds.secret)
    return digests_from(np.zeros(params, np.float32), rounds, clients, quantised=quantised)


def digests_from(
    first: Flat, rounds: Iterable[JournaledRound], clients: Clients, *, quantised: bool = True
) -> list[bytes]:
    """Digest of each version, from a first model, float32 [D], on; the rest is as for `model_digests`."""
    model, error = first.copy(), np.zeros_like(first)
    digests = [_digest(model)]
    for played in rounds:
        if not played.accepted:
            continue
        mean = clients.mean(played)
        update = (model + mean) - model  # as the server's step and its quantiser see it
        if quantised:
            quantise(update, error)
            model = model + update
        else:
            model = model + mean
        digests.append(_digest(model))
    return digests


def made_up(params: int, federation: int, family: str = "") -> Deltas:
    """The updates that the clients of a bench, all of one family, make from the federation's seed."""

    def delta(name: str, number: int) -> Flat:
        return np.concatenate(list(update_of(params, derive(federation, "client", name, number), family)))

    return delta


@dataclass(frozen=True, slots=True)
class Clients:
    """What all clients of a run do, and what each keeps for its next update.

    Attributes:
        deltas: what they train.
        secret: seed of their secrets.
        residuals: client -> what its updates that counted did not say, float32 [D].
    """

    deltas: Deltas
    secret: int
    residuals: dict[str, Flat] = field(default_factory=dict[str, Flat])

    def mean(self, played: JournaledRound) -> Flat:
        """The mean of the accepted updates, float32 [D]; notes the residual of each that feeds it back."""
        header = decode_header(played.header.body)
        sums: list[Summed] = []
        for tier in names_of(header):
            names = [name for name in played.accepted if played.tiers.get(name, STANDARD) == tier]
            if names:
                sums.append(self._summed(played, header_for(header, tier), names))
        return mean_of_sums(sums)

    def _summed(self, played: JournaledRound, header: RoundHeader, names: Sequence[str]) -> Summed:
        """The sum of one tier, of clients that send of all tensors; the header is the tier's."""
        size = len(self.deltas(names[0], played.number))
        codec = masking_of(played.header, header, size=size, server_key=b"").params
        total = np.zeros(codec.sent, dtype=np.uint64)
        later = feeds_back(header)
        for name in names:
            delta = self.deltas(name, played.number)
            dither = derive_key(round_secret(self.secret, name, played.header.digest), DITHER, b"")
            weight = played.quarters.get(name, FULL) / FULL
            before = self.residuals.get(name) if later else None
            encoded = chain.encode(delta, before, codec, secret=dither, weight=weight)
            if later:
                self.residuals[name] = encoded.residual  # it counts: the old one is said
            total += encoded.codes
        weight = sum(played.quarters.get(name, FULL) for name in names) / FULL
        return Summed(total, len(names), weight, codec)


def _digest(model: Flat) -> bytes:
    return content_digest(memoryview(model).cast("B"))
