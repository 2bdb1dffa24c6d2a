"""The bytes of a round for one client: update and model exactly, the messages of a masked round by writing them.

D is the number of parameters, g the size of the group, M the number of sent codes.
"""

from __future__ import annotations

from dataclasses import dataclass

from roughfed.codec import CODECS, downlink
from roughfed.codec.plan import ChainParams, Lanes, plan_subset
from roughfed.config import FederationConfig
from roughfed.crypto.roster import RosterEntry
from roughfed.crypto.sealing import OVERHEAD_BYTES
from roughfed.deploy.plan_groups import Grouping
from roughfed.secagg import messages as m
from roughfed.secagg.groups import threshold
from roughfed.types import Signed, UpdateStatement
from roughfed.wire.enrolment import encode_member, encode_roster_entry
from roughfed.wire.secagg import SHARE_BYTES, encode_stage
from roughfed.wire.updates import encode_statement

DIGEST = bytes(32)
SIGNATURE = bytes(64)
CA_SIGNATURE = bytes(71)  # DER, P-256: 70 to 72


@dataclass(frozen=True, slots=True)
class RoundTraffic:
    """Bytes of one client in one round.

    Attributes:
        update: its upload; beside the codes of a masked one go its statistics (`plan_sums`), not counted here.
        model: its download when it has the version before.
        whole_model: its download when it has not.
        stages_up: keys, shares, sketches and signatures that it sends when masked, as serialized; without gRPC's own.
        stages_down: those that it gets.
        up_ratio: update and messages, relative to the float32 parameters.
        down_ratio: model and messages, relative to the same.
    """

    update: int
    model: int
    whole_model: int
    stages_up: int
    stages_down: int
    up_ratio: float
    down_ratio: float


def traffic(config: FederationConfig, size: int, *, invited: int, groups: Grouping | None) -> RoundTraffic:
    """What one client of the largest group sends and gets.

    Args:
        config: the settings.
        size: parameters of the model, D.
        invited: clients of the round.
        groups: when masked.
    """
    sees, whole = config.privacy.server_sees, 4 * size
    model = downlink.payload_bytes(size) if config.codec.downlink_of(sees) == "int8" else whole
    up = down = 0
    if groups is None:
        update = CODECS[config.codec.uplink(sees)].max_bytes(size)
    else:
        update = chain(config, size, groups).sent_bytes
        dim = config.sketch.dim if sees == "sketches" else 0
        up = stages_up(groups.sizes[0], sketch_bytes=dim * groups.lane_bits // 8)
        down = stages_down(groups.sizes[0], invited, sketches=dim > 0)
    return RoundTraffic(update, model, whole, up, down, (update + up) / whole, (model + down) / whole)


def chain(config: FederationConfig, size: int, groups: Grouping) -> ChainParams:
    """The codec of a masked round."""
    lanes = Lanes(groups.lane_bits, groups.levels)
    return ChainParams(size, lanes, config.codec.clip_norm, DIGEST, plan_subset(config.codec.fraction))


def stages_up(g: int, *, sketch_bytes: int) -> int:
    """Messages of one client: advertise, shares, sketch (if any), consistency, unmask."""
    names = [_name(i) for i in range(g)]
    stages: list[m.Message] = [_advertise(), _shares(names)]
    if sketch_bytes:
        lanes = bytes(sketch_bytes)
        stages.append(m.Sketch(DIGEST, lanes, tuple((name, lanes) for name in names[1:])))
    answer = tuple((name, bytes(SHARE_BYTES)) for name in names)
    stages += [m.Consistency(DIGEST), m.Unmask(DIGEST, answer, ())]
    return sum(map(_signed_bytes, stages))


def stages_down(g: int, invited: int, *, sketches: bool) -> int:
    """Messages to one client: roster, deals, seed (with sketches), sets, the members' signatures over them."""
    names = [_name(i) for i in range(g)]
    entry = encode_roster_entry(RosterEntry(_name(0), "client", DIGEST, "roughfed", 1 << 30))
    adverts = tuple(_signed(_advertise(), name) for name in names)
    cohort = tuple((_name(i), DIGEST) for i in range(invited))
    roster = m.Roster(DIGEST, 1, adverts, (encode_member(entry, CA_SIGNATURE),) * g, cohort, DIGEST)
    deals = m.Deals(tuple(_signed(_shares(names), name) for name in names))
    agreed = m.UnmaskRequest(tuple(_signed(m.Consistency(DIGEST), name) for name in names[: threshold(g)]))
    total = sum(len(encode_stage(value)) for value in (roster, deals, agreed))
    statements = tuple(_statement(name) for name in names)
    if sketches:
        groups = -(-invited // g)
        path = (DIGEST,) * (groups - 1).bit_length()
        total += _signed_bytes(m.Seed(DIGEST, 1, DIGEST, path, 1, groups, 128, statements))
    return total + _signed_bytes(m.Sets(DIGEST, 1, tuple(names), (), DIGEST, statements))


def _name(number: int) -> str:
    return f"client-{number:03d}"


def _statement(name: str) -> Signed:
    """What a client signs about a masked upload of some hundred kilobytes."""
    value = UpdateStatement("run-00000000", 100, name, DIGEST, DIGEST, 1 << 19, 0, view_digest=DIGEST)
    return Signed(encode_statement(value), SIGNATURE, name)


def _advertise() -> m.Advertise:
    return m.Advertise(DIGEST, DIGEST, DIGEST, DIGEST)


def _shares(names: list[str]) -> m.Shares:
    sealed = m.Sealed(names[0], bytes(2 * SHARE_BYTES + OVERHEAD_BYTES), DIGEST, DIGEST, DIGEST, DIGEST, DIGEST)
    own = m.Sealed(names[0], b"", DIGEST, DIGEST, DIGEST, DIGEST, DIGEST)
    return m.Shares(DIGEST, DIGEST, (own, *(sealed,) * (len(names) - 1)))


def _signed(value: m.Message, name: str) -> Signed:
    return Signed(encode_stage(value), SIGNATURE, name)


def _signed_bytes(value: m.Message) -> int:
    return len(encode_stage(value)) + len(SIGNATURE) + len(_name(0))
