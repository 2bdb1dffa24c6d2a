"""The walks of CONTRIBUTING.md do what they say."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
import torch

from roughfed.errors import LocalProtocolError, RemoteProtocolError
from tests.unit.documents import blocks


def module(word: str) -> dict[str, Any]:
    """What the one block with a word defines."""
    (found,) = [b for b in blocks("python") if b.document.name == "CONTRIBUTING.md" and word in b.text]
    names: dict[str, Any] = {"__name__": "walk"}
    exec(compile(found.text, found.place, "exec"), names)
    return names


def test_the_loss_is_that_of_the_paper() -> None:
    walk = module("def poly(")
    output, target = torch.randn(64, 5, generator=torch.Generator().manual_seed(1)), torch.arange(64) % 5
    p = torch.softmax(output.double(), 1)[torch.arange(64), target]
    wanted = -p.log() + 2 * (1 - p)
    torch.testing.assert_close(walk["poly"](output, target, 2.0).double(), wanted, rtol=1e-5, atol=1e-6)
    hooks = walk["poly_loss"](MappingProxyType({"e": 2.0}), None, None)
    assert hooks.loss is not None


def test_the_codec_keeps_the_laws_of_its_room() -> None:
    codec, size = module("`bf16`"), 1000
    delta = np.random.default_rng(1).normal(size=size).astype(np.float32)
    payload = codec["encode"](delta)
    codec["check"](payload, size)
    back = codec["decode"](payload, 0, size, size=size)
    assert np.abs(back - delta).max() <= np.abs(delta).max() / 128
    np.testing.assert_array_equal(codec["decode"](payload, 10, 20, size=size), back[10:20])
    assert codec["encode"](back) == payload
    with pytest.raises(LocalProtocolError):
        codec["encode"](np.array([np.nan], np.float32))
    for bad in (payload[:-1], b"\x80\x7f" + payload[2:], b"\xc0\x7f" + payload[2:]):
        with pytest.raises(RemoteProtocolError):
            codec["check"](bad, size)
