"""A model of four tensors, two classes of clients, and headers that name classes, for the tests of classes."""

from typing import Any

from roughfed.types import ClientClass, RoundHeader, Spec, TensorSpec

SPEC = Spec((TensorSpec("a", (7,)), TensorSpec("b.w", (5,)), TensorSpec("b.v", (3,)), TensorSpec("head", (6,))))
D = bytes(32)
THIN = ClientClass("thin", 4, codec="identity")
HEADS = ClientClass("heads", 1, ("head", "a"), codec="identity")


def header(*classes: ClientClass, **changes: Any) -> RoundHeader:
    return RoundHeader("r", 1, D, 0, SPEC.digest, D, "identity", "updates", D, 60.0, classes=classes, **changes)


def masked(*classes: ClientClass) -> RoundHeader:
    terms = {"levels": 16, "lane_bits": 8, "keep_one_in": 1, "clip_norm": 1.0, "epoch_round": 1}
    return RoundHeader(
        "r", 1, D, 0, SPEC.digest, D, "lanes", "sums", D, 60.0, nonce_commitment=D, classes=classes, **terms
    )
