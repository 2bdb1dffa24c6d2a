"""The summary says what the journal says, whether the server runs, died in between, or is over."""

import asyncio
import shutil
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from roughfed.deploy.cli.app import build
from roughfed.deploy.summary import run_summary
from roughfed.errors import ConfigError
from roughfed.report.summary import GroupSummary, Proof, Together
from roughfed.server.masked.journal import MaskedOpening, Stages
from roughfed.server.storage.store import EVERYBODY, RoundRow, Store
from roughfed.types import Evaluation, RoundHeader, Signed, Spec, TensorSpec
from roughfed.wire.session import encode_header

SPEC = Spec((TensorSpec("w", (5,)),))
CLIENTS = ("ann", "bob", "eve")
NOBODY: Mapping[str, str] = {}
FED = '[federation]\nname = "test"\n[model]\nname = "mlp"\n[data]\nname = "digits"\n'


def evaluation(*correct: int, of: int = 10) -> Evaluation:
    count = tuple(of for _ in correct)
    return Evaluation(bytes(32), sum(count), 0.5 * sum(count), count, correct)


def header(number: int, version: int, sees: str) -> Signed:
    fields = {"codec": "identity", "server_sees": sees, "roster_root": bytes(32), "deadline_s": 60.0}
    if sees != "updates":
        fields |= {"codec": "lanes", "clip_norm": 10.0 / number}
    digests = {"model_digest": bytes([version]) * 32, "spec_digest": SPEC.digest, "previous_header_digest": bytes(32)}
    return Signed(
        encode_header(RoundHeader(run="r", round=number, model_version=version, **digests, **fields)), b"s", "server"
    )


class Run:
    """Writes a run's facts in the order in which a server does."""

    def __init__(self, folder: Path, sees: str = "updates") -> None:
        (folder / "fed.toml").write_text(FED + f'[privacy]\nserver_sees = "{sees}"\n')
        self.store, self.sees = Store(folder / "state"), sees
        asyncio.run(self.store.create_run("r", SPEC, bytes(32), 1000.0))
        self.version = self.number = 0

    def open(self) -> None:
        self.number += 1
        row = RoundRow(
            self.number,
            header(self.number, self.version, self.sees),
            CLIENTS,
            3,
            1000.0 * self.number,
            None,
            None,
            None,
        )
        asyncio.run(self.store.open_round(row))

    def play(self, sets: Mapping[str, str], *, commit: bool = True, summary: bool = True) -> None:
        self.open()

        async def work() -> None:
            await self.store.set_sets(self.number, sets)
            if commit:
                self.version += 1
                await self.store.commit(
                    self.number, version=self.version, digest=bytes([self.version]) * 32, now=1000.0 * self.number + 3
                )
            else:
                await self.store.abandon(self.number, "1 of 3", 1000.0 * self.number + 3)
            if summary:
                figures = {"seconds": 2.5, "phase_seconds": {"report": 2.0}, "upload_bytes": 60, "download_bytes": 40}
                training = {"train_seconds": 1.5, "train_metrics": {"loss": 0.25}}
                await self.store.set_summary(self.number, figures | training)

        asyncio.run(work())

    def measure(self, version: int, **found: Evaluation) -> None:
        sources = {"server": "", "everybody": EVERYBODY}
        asyncio.run(self.store.add_evaluations(version, [(sources.get(n, n), e) for n, e in found.items()]))

    def play_masked(
        self, sums: Mapping[str, Sequence[int]], *, void: str = "", proofs: Mapping[str, str] = NOBODY
    ) -> None:
        async def before() -> None:
            stages = Stages(self.store.journal)
            await stages.open(self.number + 1, MaskedOpening(bytes(32), 1, b"", 1.0, None))
            ending = {"statistics": sums, "proofs": proofs, "noted": {"bob": "silent at unmask"}}
            await stages.note_end(self.number + 1, now=0.0, **ending)

        async def after() -> None:
            groups = [{"members": CLIENTS[:2], "void": ""}, {"members": CLIENTS[2:], "void": void}]
            await self.store.set_summary(self.number, {"groups": groups})
            statics = {f"round {self.number}": {"class-count": sums["class-count"]}}
            await self.store.set_sets(self.number, sets, statics=statics)

        asyncio.run(before())
        sets = {"ann": "", "bob": "", "eve": "void" if void else ""}
        self.play(sets)
        asyncio.run(after())


def test_a_round_has_the_figures_of_the_version_it_committed(tmp_path: Path) -> None:
    run = Run(tmp_path)
    with closing(run.store):
        run.measure(0, server=evaluation(0, 0), ann=evaluation(0, 0))
        run.play(dict.fromkeys(CLIENTS, ""))
        run.measure(1, server=evaluation(10, 6), ann=evaluation(9, 9), bob=evaluation(10, 10))

        summary = run_summary(tmp_path)  # while the server has its journal open

        assert (summary.run, summary.server_sees, summary.clients) == ("r", "updates", 3)
        assert (summary.parameters, summary.float32_bytes) == (5, 20)
        assert summary.model_digest == "01" * 32
        assert summary.started_at == "1970-01-01T00:16:40+00:00"
        assert summary.seconds_total == 2.5
        assert summary.config["model"]["name"] == "mlp"  # pyright: ignore[reportIndexIssue]
        (only,) = summary.rounds
        assert (only.round, only.version, only.outcome, only.seconds) == (1, 1, "committed", 2.5)
        assert (only.upload_bytes, only.download_bytes, only.phase_seconds) == (60, 40, {"report": 2.0})
        assert (only.train_seconds, only.train_metrics) == (1.5, {"loss": 0.25})
        assert (only.accuracy, only.balanced_accuracy, only.loss) == (0.8, 0.8, 0.5)
        assert only.class_accuracy == [1.0, 0.6]
        assert (only.worst_class, only.macro_f1, only.tail_accuracy) == (0.6, None, None)
        assert (summary.untrained, summary.class_prior) == ([0.0, 0.0], [])
        assert summary.client_class_accuracy == {"ann": [0.9, 0.9], "bob": [1.0, 1.0]}
        assert only.client_accuracy == {"ann": 0.9, "bob": 1.0}
        assert only.accepted == list(CLIENTS)


def test_who_was_left_out_and_why(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.play({"ann": "", "bob": "late", "eve": "norm"})
    run.play({"ann": "", "bob": "gone", "eve": "gone"}, commit=False)
    run.play(dict.fromkeys(CLIENTS, ""))
    run.store.close()

    first, second, third = run_summary(tmp_path).rounds  # after the server ended

    assert (first.accepted, first.excluded, first.dropped) == (["ann"], [("eve", "norm")], ["bob"])
    assert (second.outcome, second.version, second.accuracy) == ("abandoned", 1, None)
    assert (third.outcome, third.version) == ("committed", 2)


def test_clients_speak_for_a_server_without_data(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.play(dict.fromkeys(CLIENTS, ""))
    asyncio.run(run.store.set_sets(1, {}, statics={"ann": {"class-count": (30, 0)}, "bob": {"class-count": (10, 4)}}))
    sure = Evaluation(
        bytes(32), 20, 1.0, (10, 10), (10, 0), confusion=(10, 0, 10, 0), calibration=(*[0] * 14, 20) * 2 + (0,) * 15
    )
    bob = replace(evaluation(30, 30, of=30), confusion=(30, 0, 0, 30), calibration=(*[0] * 14, 60) * 2 + (0,) * 15)
    run.measure(1, ann=sure, bob=bob)
    run.store.close()

    summary = run_summary(tmp_path)
    (only,) = summary.rounds

    assert only.accuracy == 70 / 80
    assert only.class_accuracy == [1.0, 0.75]
    assert (only.confusion, only.calibration[14], only.calibration_error) == ([[40, 0], [10, 30]], 80, 1.0)
    assert only.macro_f1 == pytest.approx((80 / 90 + 60 / 70) / 2)
    assert (summary.class_prior, only.head_accuracy, only.tail_accuracy) == ([40, 4], 1.0, 0.75)


def test_an_open_round_is_no_round_yet_and_lost_figures_do_not_hurt(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.play({"ann": "", "bob": "late", "eve": ""}, summary=False)  # killed between commit and summary
    run.open()
    run.store.close()

    (only,) = run_summary(tmp_path).rounds

    assert (only.accepted, only.dropped, only.upload_bytes) == (["ann", "eve"], ["bob"], 0)
    assert only.accuracy is None


def test_reading_changes_nothing(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.play(dict.fromkeys(CLIENTS, ""))
    run.store.close()

    def look() -> dict[Path, bytes]:
        return {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}

    before = look()
    run_summary(tmp_path)

    assert look() == before


def test_no_run_is_said_plainly_and_nothing_is_made(tmp_path: Path) -> None:
    (tmp_path / "fed.toml").write_text(FED)

    with pytest.raises(ConfigError, match="no run was started"):
        run_summary(tmp_path)

    assert [p.name for p in tmp_path.iterdir()] == ["fed.toml"]


def test_a_masked_run_speaks_in_sums(tmp_path: Path) -> None:
    run = Run(tmp_path, "sketches")
    run.play_masked({"class-count": (7, 0), "accuracy-histogram": (3, 0)})
    compared = {"accuracy-histogram": (1, 2), "personal-histogram": (0, 3), "alone-histogram": (2, 1)}
    run.play_masked({"class-count": (0, 0), **compared}, void="a sketch was false")
    run.play_masked({"class-count": (1, 4), "accuracy-histogram": (0, 0)}, proofs={"eve": "false-sketch"})
    run.measure(0, everybody=evaluation(0, 0))
    run.measure(1, everybody=evaluation(8, 2), server=evaluation(9, 9))
    run.measure(2, everybody=evaluation(10, 6))
    run.store.close()

    summary = run_summary(tmp_path)
    first, second, third = summary.rounds

    assert (first.head_accuracy, first.tail_accuracy, second.tail_accuracy) == (0.9, 0.9, 0.6)
    assert (summary.untrained, summary.client_class_accuracy) == ([0.0, 0.0], {})
    assert (first.accuracy, first.client_accuracy) == (0.9, {})
    assert first.together == Together(0.5, 0.5, [0.8, 0.2], [1, 2], [0, 3], [2, 1])
    assert (second.accuracy, second.together) == (0.8, Together(0.8, 0.8, [1.0, 0.6], []))
    assert third.together is None, "the last version is evaluated by the next round, which never comes"
    assert [r.clip_norm for r in summary.rounds] == [10.0, 5.0, 10.0 / 3]
    assert first.groups == [GroupSummary(["ann", "bob"]), GroupSummary(["eve"])]
    assert second.groups[1] == GroupSummary(["eve"], "a sketch was false")
    assert summary.class_prior == [8, 4]
    assert summary.sketch_dim == 128
    assert summary.proofs == [Proof("eve", 3, "false-sketch")]
    assert summary.suspended == {"bob": "silent in 3 rounds"}


def test_an_unmasked_run_has_nothing_of_the_kind(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.play(dict.fromkeys(CLIENTS, ""))
    run.measure(1, ann=evaluation(10, 0))
    asyncio.run(run.store.add_evaluations(1, [("ann", evaluation(9, 9))], kind="personal"))
    asyncio.run(run.store.add_evaluations(1, [("ann", evaluation(1, 1))], kind="alone"))
    run.store.close()
    summary = run_summary(tmp_path)
    (only,) = summary.rounds

    assert (only.client_accuracy, only.client_personal, only.client_alone) == ({"ann": 0.5}, {"ann": 0.9}, {"ann": 0.1})
    assert (only.together, only.groups, only.clip_norm) == (None, [], None)
    assert (summary.class_prior, summary.proofs, summary.suspended, summary.sketch_dim) == ([], [], {}, 0)


def test_a_copy_of_an_ended_directory_says_the_same(tmp_path: Path) -> None:
    here, copy = tmp_path / "here", tmp_path / "copy"
    here.mkdir()
    run = Run(here)
    run.play(dict.fromkeys(CLIENTS, ""))
    run.measure(1, server=evaluation(9, 4))
    run.play({"ann": "", "bob": "late", "eve": "norm"}, commit=False)
    run.store.close()
    before = run_summary(here)

    shutil.copytree(here, copy)
    shutil.rmtree(here)
    done = CliRunner().invoke(build(), ["report", "--dir", str(copy)])

    assert done.exit_code == 0, done.output
    assert run_summary(copy) == before
    assert "late" not in before.rounds[0].dropped
    page = (copy / "report.html").read_text()
    assert f"Run {before.run}" in page
    assert "longer than the norm bound allows" in page
