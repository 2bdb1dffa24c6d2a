"""30 % of the clients lost at every stage of a round: it commits a sum, and how much of the others' work is in it.

`ROUGHFED_LOSS_ROUNDS=200 make bench ARGS="-s -k losses"` plays as many rounds of each stage as docs/benchmarks.md says.
"""

import json
import os
from collections.abc import Callable

import pytest

from roughfed.deploy.simulate.dropout_outcomes import MASKED_STAGES
from roughfed.deploy.simulate.options import SimulateOptions
from roughfed.deploy.simulate.run import simulate
from roughfed.secagg import groups, roster

ROUNDS = int(os.environ.get("ROUGHFED_LOSS_ROUNDS", "5"))  # of each stage

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120 + 60 * ROUNDS)]

Sizes = Callable[[int], list[int]]


def eights(clients: int) -> list[int]:
    """Groups of 8, or as near to it as a number of clients allows: each may lose two, as one of 7 may."""
    count = max(1, round(clients / 8))
    return sorted((clients // count + (at < clients % count) for at in range(count)), reverse=True)


@pytest.mark.parametrize(("sizes", "how_many"), [(groups.group_sizes, 4), (eights, 5)], ids=["as-shipped", "of-eight"])
def test_rounds_commit_whatever_stage_loses_three_in_ten(
    sizes: Sizes, how_many: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for module in (groups, roster):  # server and clients, which share this process
        monkeypatch.setattr(module, "group_sizes", sizes)
    rounds = ROUNDS * len(MASKED_STAGES)
    options = SimulateOptions(clients=40, rounds=rounds, lose=0.3, at="each", settings={"round.evaluate_every": "0"})
    found = simulate(options)

    assert found.released == 0  # nobody who is lost together with its session is suspended, nor are the others
    with capsys.disabled():
        print(json.dumps(found.losses))
    assert list(found.losses) == list(MASKED_STAGES)
    for stage, figures in found.losses.items():
        assert figures["lost"] == 12 * figures["rounds"]
        assert stage == "advertise" or figures["groups"] == how_many * figures["rounds"]
        assert figures["committed_share"] >= 0.9
        parts = [figures[f"{name}_share"] for name in ("counted", "excluded", "void")]
        assert sum(parts) == pytest.approx(1.0)
        assert parts[0] > 0.25
    assert found.losses["advertise"]["void_groups"] == 0  # the groups are drawn among those who are there
