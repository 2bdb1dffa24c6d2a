"""Frozen bytes of the codecs (tests/vectors/codec.json): whoever changes them changes the protocol.

Inputs are made of integers and divisions, so that no library's random numbers are frozen with them.
"""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from roughfed.codec import CODECS
from roughfed.codec.chain import decode_sum, encode
from roughfed.codec.downlink import apply, quantise
from roughfed.codec.plan import ChainParams, check_lanes
from roughfed.codec.subset import kept_rows

VECTORS = json.loads((Path(__file__).parents[3] / "vectors" / "codec.json").read_text())


def delta_of(size: int) -> np.ndarray:
    """A saw of odd steps with a large part in front, float32, exact in every arithmetic."""
    at = np.arange(size, dtype=np.int64)
    saw = ((at * 7919 + 13) % 2003 - 1001).astype(np.float32) / np.float32(1024)
    return np.where(at < size // 7, saw * 16, saw).astype(np.float32)


def sha256(array: np.ndarray) -> str:
    return hashlib.sha256(array.tobytes()).hexdigest()


@pytest.mark.parametrize("case", VECTORS["chain"], ids=lambda case: f"{case['size']}-{case['bits']}-{case['keep']}")
def test_the_chain(case: dict) -> None:
    lanes = check_lanes(case["group"], case["levels"], case["bits"])
    params = ChainParams(case["size"], lanes, case["clip_norm"], bytes.fromhex(case["seed"]), case["keep"])
    assert [params.layout.rows, params.layout.columns, params.sent] == case["layout"]
    assert params.step == case["step"]
    assert kept_rows(params)[:8].tolist() == case["first_rows"]
    encoded = encode(delta_of(case["size"]), None, params, secret=bytes.fromhex(case["secret"]))
    assert encoded.codes[:16].tolist() == case["first_codes"]
    assert sha256(encoded.codes) == case["codes"]
    assert sha256(encoded.residual) == case["residual"]
    assert sha256(decode_sum(encoded.codes, 1, params)) == case["decoded"]


@pytest.mark.parametrize("name", CODECS)
def test_the_codecs_of_updates(name: str) -> None:
    case = VECTORS["codecs"][name]
    payload = CODECS[name].encode(delta_of(case["size"]))
    assert payload.hex() == case["payload"]


def test_the_downlink() -> None:
    case = VECTORS["downlink"]
    update, error = delta_of(case["size"]), np.full(case["size"], 1 / 4096, np.float32)
    payload = quantise(update, error)
    assert payload.hex() == case["payload"]
    assert sha256(error) == case["error"]
    params = np.ones(case["size"], np.float32)
    apply(payload, params)
    assert sha256(params) == case["params"]
