"""Shares and levels follow the scores; a better model has every coordinate of a worse one, the best one whole."""

import asyncio
import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given as example
from hypothesis import strategies as st
from safetensors.numpy import load_file

from roughfed.deploy.cli import app as cli
from roughfed.deploy.cli.export_for import tier_after
from roughfed.errors import ConfigError
from roughfed.params import write_model
from roughfed.server.extensions.ledger.entries import RoundFacts
from roughfed.server.extensions.ledger.file import LedgerFile
from roughfed.server.extensions.ledger.hash_chain import read
from roughfed.server.extensions.ledger.rewards import downgraded, given
from roughfed.server.model.retention import Quality
from roughfed.server.storage.store import RoundRow, Store
from roughfed.types import Signed, Spec, TensorSpec
from roughfed.wire.session import HEADER_DOMAIN
from tests.unit.server.extensions.ledgers import KEY, written

LEVELS = (0.25, 0.5, 1.0)
SPEC = Spec((TensorSpec("w", (5, 7)), TensorSpec("b", (3,)), TensorSpec("bn.var", (4,), kind="variance")))
scores = st.dictionaries(st.sampled_from("abcdefgh"), st.floats(-1, 1), min_size=1)


@example(scores, st.floats(0.1, 5))
def test_shares_add_up_and_levels_rise_with_the_scores(totals: dict[str, float], beta: float) -> None:
    found = given(totals, levels=LEVELS, beta=beta)
    anything = any(score > 0 for score in totals.values())
    assert sum(found.shares.values()) == pytest.approx(1.0 if anything else 0.0)
    ranked = sorted(totals, key=lambda name: totals[name])
    levels, shares = [found.levels[name] for name in ranked], [found.shares[name] for name in ranked]
    assert levels == sorted(levels)
    assert shares == sorted(shares)
    assert set(levels) <= set(LEVELS)
    assert (max(levels) == 1.0) == anything
    assert given(totals, beta=beta) == replace(found, levels={})


def test_twins_are_given_the_same_and_the_flagged_nothing() -> None:
    found = given({"a": 0.4, "b": 0.4, "c": 0.9}, levels=LEVELS, flagged={"c"})
    assert found.shares == {"a": 0.5, "b": 0.5, "c": 0.0}
    assert found.levels == {"a": 1.0, "b": 1.0, "c": 0.25}


@example(st.integers(0, 2**32), st.floats(0, 1), st.floats(0, 1))
def test_a_better_model_has_every_coordinate_of_a_worse_one(seed: int, one: float, other: float) -> None:
    rng = np.random.default_rng(seed)
    start, final = rng.normal(size=(2, SPEC.size)).astype(np.float32)
    final[::3] = start[::3] + np.float32(0.5)  # ties
    low, high = sorted((one, other))
    worse, better = downgraded(start, final, SPEC, low), downgraded(start, final, SPEC, high)
    changed = worse != start
    np.testing.assert_array_equal(better[changed], final[changed])
    for name, where in SPEC.slices().items():
        learned = name != "bn.var"
        taken = (worse[where] != start[where]).sum()
        assert taken == (int(np.ceil(round(low * len(start[where]), 6))) if learned else 4)
        if learned and 0 < taken < len(start[where]):
            change = np.abs(final[where].astype(np.float64) - start[where])
            assert change[worse[where] != start[where]].min() >= change[worse[where] == start[where]].max()


def test_the_best_model_is_the_whole_one_to_the_bit() -> None:
    start, final = np.zeros(SPEC.size, dtype=np.float32), np.full(SPEC.size, -0.0, dtype=np.float32)
    final[:4] = [np.float32(1e-45), 1.0, 3.4e38, -1.0]
    assert downgraded(start, final, SPEC, 1.0).tobytes() == final.tobytes()


def facts(row: RoundRow) -> RoundFacts:
    parts = {"ann": {"round": 0.9, "cosine": 0.9}, "bob": {"round": 0.1, "cosine": 0.1}}
    about = {"outcome": row.outcome, "header": row.header.digest.hex(), "version": row.round}
    return RoundFacts(row.round, about, dict.fromkeys(row.cohort, ""), method="cgsv", parts=parts, levels=LEVELS)


async def play(store: Store) -> None:
    """Three versions, and whoever took part in them."""
    for version in range(3):
        path = store.folder / "models" / "next.safetensors"
        digest = write_model(path, SPEC, [np.arange(SPEC.size, dtype=np.float32) * version])
        path.rename(store.model_path(digest))
        if version == 0:
            await store.create_run("lab-1", SPEC, digest, 0.0)
            continue
        body = f"header {version}".encode()
        header = Signed(body, KEY.sign(HEADER_DOMAIN, body), "server")
        await store.open_round(RoundRow(version, header, ("ann", "bob", "cy"), 3, 0.0, None, None, None))
        await store.set_sets(version, dict.fromkeys(("ann", "bob", "cy"), ""))
        await store.commit(version, version=version, digest=digest, now=1.0)
        await store.set_summary(version, {})
    await LedgerFile(store, KEY, run="lab-1", server="server").catch_up(facts)


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    with tempfile.TemporaryDirectory(prefix="rf-") as short:
        with closing(Store(Path(short) / "state")) as store:
            asyncio.run(play(store))
        yield Path(short)


def test_a_client_that_is_away_is_given_what_its_score_is_worth_by_now() -> None:
    facts = list[RoundFacts]()
    for number in range(1, 11):
        here = ("ann", "bob") if number == 1 else ("bob",)
        parts = {name: {"round": 0.9 if name == "ann" else 0.5} for name in here}
        about = {"outcome": "committed", "header": f"{number:064x}", "version": number}
        verdicts = dict.fromkeys(here, "")
        facts.append(RoundFacts(number, about, verdicts, method="leave-one-out", parts=parts, levels=LEVELS))
    entries = read(written(facts)).entries
    assert (tier_after(entries, "ann", 1), tier_after(entries, "bob", 1)) == (1.0, 1.0)
    assert (tier_after(entries, "ann", 10), tier_after(entries, "bob", 10)) == (0.5, 1.0)
    unscored = read(written([replace(one, method="", parts={}) for one in facts])).entries
    with pytest.raises(ConfigError, match="no round was scored"):
        tier_after(unscored, "ann", 10)


def test_export_for_a_client(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def export(client: str, *more: str) -> int:
        out = str(folder / client) + ".safetensors"
        return cli.run(["export", "--dir", str(folder), "--for", client, "--out", out, "--json", *more])

    whole = np.arange(SPEC.size, dtype=np.float32) * 2
    for client, quality in (("ann", 1.0), ("bob", 0.25), ("cy", 0.25)):
        assert export(client) == 0
        assert json.loads(capsys.readouterr().out)["quality"] == quality
        tensors = load_file(folder / f"{client}.safetensors")
        flat = np.concatenate([tensors[t.name].reshape(-1) for t in SPEC.tensors])
        assert flat.tobytes() == downgraded(np.zeros_like(whole), whole, SPEC, quality).tobytes()
    assert export("nobody") == 2
    assert "one of: ann, bob, cy" in capsys.readouterr().err
    with closing(Store(folder / "state")) as store:
        Quality(store).prune(keep_last=2, keep_best=False, keep_first=True)
    assert export("bob", "--version", "1") == 0
    with closing(Store(folder / "state")) as store:
        Quality(store).prune(keep_last=2, keep_best=False)
    assert export("bob") == 2
    assert "the first model was not kept" in capsys.readouterr().err
    assert export("ann") == 0
    path = folder / "state" / "ledger.jsonl"
    path.write_bytes(path.read_bytes().replace(b"0.9", b"0.8", 1))
    assert export("bob") == 2
    assert sorted(p.name for p in folder.iterdir() if p.suffix not in (".safetensors",)) == ["state"]
