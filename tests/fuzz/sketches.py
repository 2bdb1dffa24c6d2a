"""Sketches of a peer, the claims in them, and sums of statistics."""

from __future__ import annotations

from functools import cache

import numpy as np

from roughfed.errors import LocalProtocolError, RoughfedError
from roughfed.secagg import messages as m
from roughfed.secagg.terms import Terms, sketch_lanes
from roughfed.sketch.buckets import Sketcher
from roughfed.wire.secagg import decode_stage, encode_stage

from .values import D

RUNS = 4000
TERMS = Terms(D, bytes(32), D, D, length=2000, bits=8, levels=15, code_rms=2.0, dim=64)


@cache
def sketcher() -> Sketcher:
    return TERMS.sketcher(D, 2)


def fuzz(data: bytes) -> None:
    try:
        sketch = decode_stage(m.Sketch, data)
    except LocalProtocolError:
        raise
    except RoughfedError:
        return
    for lanes in (sketch_lanes(sketch.codes, TERMS), *(sketch_lanes(given, TERMS) for _, given in sketch.pairs)):
        assert len(lanes) in (0, TERMS.dim)
        if len(lanes):
            claim = sketcher().claim(lanes)
            assert np.isfinite(claim).all()
            assert np.isfinite(sketcher().norms(claim)).all()


def seeds() -> list[bytes]:
    codes = np.random.default_rng(1).integers(0, 15, TERMS.length).astype(TERMS.dtype)
    lanes, mask = sketcher().of_codes(codes).tobytes(), sketcher().of_mask(D).tobytes()
    return [
        encode_stage(m.Sketch(D, lanes, ())),
        encode_stage(m.Sketch(D, lanes, (("beta", mask), ("gamma", mask)))),
        encode_stage(m.Sketch(D, b"", (("beta", mask[:63]),))),
    ]
