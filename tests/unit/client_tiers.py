"""A model of four tensors, two tiers of clients, and headers that name tiers, for the tests of tiers."""

from typing import Any

from roughfed.types import ClientTier, RoundHeader, Spec, TensorSpec

SPEC = Spec((TensorSpec("a", (7,)), TensorSpec("b.w", (5,)), TensorSpec("b.v", (3,)), TensorSpec("head", (6,))))
D = bytes(32)
THIN = ClientTier("thin", 4, codec="identity")
HEADS = ClientTier("heads", 1, ("head", "a"), codec="identity")


def header(*tiers: ClientTier, **changes: Any) -> RoundHeader:
    return RoundHeader("r", 1, D, 0, SPEC.digest, D, "identity", "updates", D, 60.0, tiers=tiers, **changes)


def masked(*tiers: ClientTier) -> RoundHeader:
    terms = {"levels": 16, "lane_bits": 8, "keep_one_in": 1, "clip_norm": 1.0, "epoch_round": 1}
    return RoundHeader("r", 1, D, 0, SPEC.digest, D, "lanes", "sums", D, 60.0, nonce_commitment=D, tiers=tiers, **terms)
