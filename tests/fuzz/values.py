"""Values as real encoders take them, for the first inputs of the fuzz targets."""

from __future__ import annotations

from roughfed.adapters import Base
from roughfed.messages import Machine, Seen
from roughfed.secagg import messages as m
from roughfed.types import ClientTier, Evaluation, RoundHeader, Signed, Spec, TensorSpec, UpdateStatement
from roughfed.wire.enrolment import encode_member

D = bytes(range(32))
SPEC = Spec((TensorSpec("net.0.weight", (3, 4)), TensorSpec("net.1.running_mean", (4,), "float16", "buffer")))
EVALUATION = Evaluation(D, 3, 1.5, (1, 2), (0, 2), 0.25, (0, 1, 0, 2))
MEMBER = encode_member(b"entry", b"signature")
CLASS = ClientTier("thin", 4, ("net.*",), "lanes", 15, 8, 1.0, 64, 1, D)
STATEMENT = UpdateStatement(
    "run", 7, "alpha", D, D, 1 << 20, 100, 10, 1.25, {"loss": 0.5}, EVALUATION, quarters=3, personal=EVALUATION,
    tier="thin",
)  # fmt: skip
HEADER = RoundHeader(
    "run", 7, D, 6, D, D, "lanes", "sketches", D, 60.0, D, 15, 8, 1, 1.0, D, 256, 1, D, ("trained:1",), (CLASS,)
)
BASE = Base(SPEC, D, 2.0)
MACHINE = Machine(1 << 30, 1 << 31, 0.5, 12.5, 1000, 1.7e9)


def SIGNED(body: bytes) -> Signed:  # noqa: N802 - reads as the type that it makes
    return Signed(body, bytes(range(64)), "alpha")


SEEN = Seen(SIGNED(b"header"), MEMBER)
SEALED = m.Sealed("beta", bytes(94), D, D, D, D, D)
STAGES: dict[str, object] = {
    "advertise": m.Advertise(D, D, D, D),
    "roster": m.Roster(D, 0, (SIGNED(b"a"), SIGNED(b"b")), (MEMBER, MEMBER), (("alpha", D), ("beta", D)), D),
    "shares": m.Shares(D, D, (SEALED, SEALED)),
    "deals": m.Deals((SIGNED(b"deal"),)),
    "seed": m.Seed(D, 0, D, (D, D), 0, 2, 256, (SIGNED(b"one"), SIGNED(b"two"))),
    "sketch": m.Sketch(D, bytes(256), (("beta", bytes(64)),)),
    "conflict": m.Conflict("beta", SIGNED(b"sketch")),
    "opening": m.Opening(D, "pair", "beta", D),
    "sets": m.Sets(D, 0, ("alpha",), (("beta", "norm"),), D, (SIGNED(b"one"),)),
    "consistency": m.Consistency(D),
    "unmask-request": m.UnmaskRequest((SIGNED(b"c"), SIGNED(b"d"))),
    "unmask": m.Unmask(D, (("alpha", bytes(33)),), (("beta", bytes(33)),)),
}
