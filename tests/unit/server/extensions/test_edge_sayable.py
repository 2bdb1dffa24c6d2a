"""What an edge says of a model must be readable above, whatever a sum behind masks lacks."""

from __future__ import annotations

import dataclasses

import pytest

from roughfed.server.extensions.edge.extension import sayable
from roughfed.types import BINS, Evaluation
from roughfed.wire.updates import agrees

WHOLE = Evaluation(bytes(32), 20, 10.0, (10, 10), (5, 5), confusion=(5, 5, 5, 5))
NO_BINS = dataclasses.replace(WHOLE, calibration=(0,) * 3 * BINS)  # nobody was asked, or nobody could say
NO_CLASSES = Evaluation(bytes(32), 4, 2.0, (0, 0), (0, 0), confusion=(0, 0, 0, 0))


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (WHOLE, WHOLE),
        (NO_BINS, WHOLE),
        (NO_CLASSES, Evaluation(bytes(32), 4, 2.0)),
        (dataclasses.replace(WHOLE, num_examples=1 << 60), None),
    ],
)
def test_what_contradicts_the_rest_is_left_out(found: Evaluation, said: Evaluation | None) -> None:
    assert found is WHOLE or not agrees(found)
    assert sayable(found) == said
