"""`roughfed disclosed`: a table for people, the same for programs, and what to do where there is none."""

import asyncio
import json
from contextlib import closing
from pathlib import Path

import pytest

from roughfed.client.disclosure.limits import CHOICE, STATIC, members_of
from roughfed.client.disclosure.record import DisclosureRecord
from roughfed.client.storage.store import ClientStore
from roughfed.deploy.cli.app import run
from roughfed.secagg.statistics import KINDS
from roughfed.types import RoundHeader

MODEL = bytes(range(32))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A client that has shown a little of everything; its owner has set limits."""
    (tmp_path / "client.toml").write_text("[client]\nstay = 2\n[policy]\nmax_rounds = 4\nmax_sketch_numbers = 256\n")
    header = RoundHeader(
        run="run-1", round=1, model_digest=MODEL, model_version=0, spec_digest=MODEL, previous_header_digest=bytes(32),
        codec="lanes", server_sees="sketches", roster_root=bytes(32), deadline_s=1.0, sketch_dim=128, clip_norm=1.0,
    )  # fmt: skip

    async def play() -> None:
        with closing(ClientStore(tmp_path / "state")) as store:
            disclosed = DisclosureRecord(store.journal, ca=b"ca", model=MODEL, federation="hospitals")
            await disclosed.enter("run-1", MODEL, allowed=2)
            await disclosed.record_numbers(header)
            await disclosed.record_sum(header, members_of([f"c{number}" for number in range(10)]))
            told = {name: 1 for name, kind in KINDS.items() if kind.training and name != "trained"}
            await disclosed.record_given("run-1", 1, told | {STATIC: 40, CHOICE: 3})

    asyncio.run(play())
    return tmp_path


def test_a_table_of_eighty_columns_and_the_same_in_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["disclosed", "--dir", str(folder), "--json"]) == 0
    said, shown = capsys.readouterr()
    (disclosed,) = json.loads(said.splitlines()[-1])["records"]
    assert (disclosed["federation"], disclosed["model"], disclosed["runs"]) == ("hospitals", MODEL.hex(), ["run-1"])
    assert (disclosed["rounds"], disclosed["smallest_sum"]) == ({"sketches": 1}, 10)
    limits = {line["name"]: (line["used"], line["limit"], line["share"]) for line in disclosed["limits"]}
    assert limits["runs"] == (1, 2, 0.5)
    assert limits["rounds"] == (1, 4, 0.25)
    assert limits["sketch-numbers"] == (128, 256, 0.5)
    assert limits["choice-bits"] == (3, 64, 3 / 64)
    assert limits["static"] == (1, 1, 1.0)
    assert limits["transition"] == (1, 6, 1 / 6)  # three times in each of two runs
    assert limits["head-gradient"] == (1, 100, 0.01)
    lines = shown.splitlines()
    assert max(map(len, lines)) <= 80
    assert any("rounds: 1 sketches; smallest sum: 10" in line for line in lines)
    assert any("sketch-numbers" in line and "128 of 256" in line and "50%" in line for line in lines)


def test_where_nothing_has_left_it_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["disclosed", "--dir", str(tmp_path)]) == 2
    assert "no client has taken part" in capsys.readouterr().err
    (tmp_path / "client.toml").touch()
    ClientStore(tmp_path / "state").close()
    assert run(["disclosed", "--dir", str(tmp_path)]) == 0
    assert "nothing has left" in capsys.readouterr().out
