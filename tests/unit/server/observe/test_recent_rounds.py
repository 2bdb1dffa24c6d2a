"""What an operator is told of clients that differ: out of the journal's newest summaries."""

from __future__ import annotations

import asyncio
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from roughfed.server.observe.recent_rounds import newest_told
from roughfed.server.storage.store import Store
from tests.unit.heterogeneous_rounds import summary
from tests.unit.server.storage.test_store import ROW


def test_the_newest_round_that_knows_a_key_tells_it(tmp_path: Path) -> None:
    async def run() -> dict[str, dict[str, Any]]:
        with closing(Store(tmp_path)) as store:
            for number, keys in ((1, ("spread", "cluster")), (2, ("cluster",)), (3, ())):
                await store.open_round(replace(ROW, round=number))
                await store.set_summary(number, {key: summary(number)[key] for key in keys} | {"seconds": 1.0})
            return newest_told(store)

    found = asyncio.run(run())
    assert {key: each["round"] for key, each in found.items()} == {"spread": 1, "cluster": 2}
    assert found["cluster"]["found"] == summary(2)["cluster"]


def test_scores_of_the_round_before_stand_until_the_newest_is_scored(tmp_path: Path) -> None:
    async def run() -> dict[str, dict[str, Any]]:
        with closing(Store(tmp_path)) as store:
            for number, found in ((1, summary(2)["contribution"]), (2, {"free_riders": {"eve": "noise"}})):
                await store.open_round(replace(ROW, round=number))
                await store.set_summary(number, {"contribution": found})
            return newest_told(store)

    found = asyncio.run(run())["contribution"]["found"]
    assert found["free_riders"] == {"eve": "noise"}
    assert {key: found[key] for key in ("method", "scores", "levels")} == {
        key: summary(2)["contribution"][key] for key in ("method", "scores", "levels")
    }
