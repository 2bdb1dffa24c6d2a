"""An honest round up to some stage, and one client of it that a server is about to cheat."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from roughfed.crypto.merkle import merkle_path, merkle_root
from roughfed.errors import ProtocolError, RemoteProtocolError
from roughfed.secagg import messages as m
from roughfed.secagg.client import ClientRound, State
from roughfed.secagg.server import GroupRound
from roughfed.types import Signed

from .secagg import StageWire, identity, make_round

ME, OTHER, THIRD = "c02", "c05", "c06"
SIZE = 7
STAGES = ("roster", "deals", "seed", "sets", "unmask")


@dataclass
class Scene:
    """An honest round up to a stage, with the message that an honest server would send `ME` next."""

    me: ClientRound
    group: GroupRound
    honest: m.Message
    domain: bytes | None
    sketches: dict[str, Signed] = field(default_factory=dict)
    by_server: Callable[[bytes, m.Message], Signed] = lambda *_: Signed(b"", b"", "")
    sign: Callable[[str, bytes, m.Message], Signed] = lambda *_: Signed(b"", b"", "")

    def tell(self, message: m.Message, *, signed: Signed | None = None) -> list[Signed]:
        if self.domain is not None and signed is None:
            signed = self.by_server(self.domain, message)
        return list(self.me.receive(message, signed))

    def refuses(self, message: m.Message, reason: str, error: type[Exception] = RemoteProtocolError) -> None:
        with pytest.raises(error) as caught:
            self.tell(message)
        assert getattr(caught.value, "reason", None) == reason
        assert self.me.state is State.OUT
        with pytest.raises(ProtocolError):  # spent: the honest message comes too late
            self.tell(self.honest)


def scene(stage: str, *, dim: int = 16, size: int = SIZE, seed: int = 0) -> Scene:
    round_ = make_round(size, length=256, dim=dim, seed=seed)
    adverts = round_.advertise()
    group = GroupRound(round_.terms, 0, adverts, {n: identity(n).public_key for n in round_.names}, StageWire())
    me = round_.clients[ME]
    made = Scene(me, group, round_.roster(adverts), None, {}, round_.by_server, round_.sign)
    if stage == "roster":
        return made
    for name in round_.names:
        for signed in round_.tell(name, made.honest):
            group.take_shares(signed)
    made.honest = group.close_dealing()
    if stage == "deals":
        return made
    for name in round_.names:
        round_.tell(name, made.honest)
    round_.mask(group)
    if dim:
        leaves = [bytes(32), group.uploads_root, b"o" * 32]  # of three groups
        seed_message = group.seed_for(merkle_root(leaves), merkle_path(leaves, 1), 1, len(leaves))
        for name in round_.names:
            if name == ME:
                made.honest, made.domain = seed_message, m.SEED_DOMAIN
                if stage == "seed":
                    continue
            made.sketches[name] = round_.tell(name, seed_message, round_.by_server(m.SEED_DOMAIN, seed_message))[0]
            group.take_sketch(made.sketches[name])
        if stage == "seed":
            return made
        group.close_sketching()
    sets = group.name_sets({THIRD: "defence"})
    assert sets is not None
    made.honest, made.domain = sets, m.SETS_DOMAIN
    if stage == "sets":
        return made
    signed = round_.by_server(m.SETS_DOMAIN, sets)
    group.sets_signed(signed)
    for name in round_.names:
        group.take_consistency(round_.tell(name, sets, signed)[0])
    request = group.unmask_request()
    assert request is not None
    made.honest, made.domain = request, None
    return made
