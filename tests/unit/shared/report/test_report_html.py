"""The page runs what it names by its hash, asks the network for nothing, and says what it does not know."""

import re

import pytest

from roughfed import charts
from roughfed.report.html import render
from roughfed.report.privacy import WORDS
from roughfed.report.summary import GroupSummary, Proof, RoundSummary, RunSummary, Together
from roughfed.report.words import reason
from tests.unit.report_page import Reading


def one_round(number: int, names: list[str], **changes: object) -> RoundSummary:
    values: dict[str, object] = {
        "round": number,
        "version": number,
        "seconds": 1.25,
        "phase_seconds": {"train": 1.0, "upload": 0.25},
        "participants": names,
        "accepted": names,
        "upload_bytes": 400,
        "download_bytes": 800,
        "accuracy": 0.8 + number / 100,
        "balanced_accuracy": 0.7 + number / 100,
        "loss": 1 / number,
        "class_accuracy": [0.5, 0.9],
        "client_accuracy": dict.fromkeys(names, 0.75),
    }
    return RoundSummary(**values | changes)  # pyright: ignore[reportArgumentType]


def a_run(names: list[str], rounds: list[RoundSummary], **changes: object) -> RunSummary:
    values: dict[str, object] = {
        "run": "kind-otter",
        "scenario": "clean",
        "server_sees": "updates",
        "clients": len(names),
        "parameters": 100,
        "float32_bytes": 400,
        "rounds": rounds,
        "holdings": [[3, 4] for _ in names],
        "client_names": names,
        "config": {"data": {"alpha": 0.5}, "tls": True, "init": None},
        "model_digest": "ab" * 32,
        "seconds_total": 90.0,
    }
    return RunSummary(**values | changes)  # pyright: ignore[reportArgumentType]


FEW = ["ann", "bob"]
MANY = [f"client-{i}" for i in range(200)]
SEVEN = [f"client-{i}" for i in range(1, 8)]
MASKED = {
    "client_accuracy": {},
    "together": Together(0.625, 0.5, [0.75, None], [0, 0, 1, 6]),
    "groups": [GroupSummary(SEVEN[:4]), GroupSummary(SEVEN[4:])],
}


def masked_run(sees: str = "sketches", **changes: object) -> RunSummary:
    void = [GroupSummary(SEVEN[:4]), GroupSummary(SEVEN[4:], "a sketch was false")]
    left_out = [("client-5", "false-sketch"), ("client-6", "void"), ("client-7", "void")]
    rounds = [
        one_round(1, SEVEN, clip_norm=10.0, **MASKED),
        one_round(2, SEVEN, clip_norm=9.5, **MASKED),
        one_round(3, SEVEN, clip_norm=9.0, **(MASKED | {"groups": void}), accepted=SEVEN[:4], excluded=left_out),
        one_round(4, SEVEN, clip_norm=8.5, **(MASKED | {"together": None})),
    ]
    known = {"class_prior": [120, 45], "sketch_dim": 96, "proofs": [Proof("client-5", 3, "false-sketch")]}
    known["suspended"] = {"client-1": "silent 3 times"}
    return a_run(SEVEN, rounds, server_sees=sees, **known | changes)


RUNS = {
    "usual": a_run(FEW, [one_round(n, FEW) for n in range(1, 6)]),
    "one round": a_run(FEW, [one_round(1, FEW)]),
    "no round": a_run(FEW, []),
    "200 clients": a_run(MANY, [one_round(n, MANY) for n in range(1, 4)]),
    "300 rounds": a_run(FEW, [one_round(n, FEW) for n in range(101, 401)]),
    "sketches": masked_run(),
    "sums": masked_run("sums", sketch_dim=0, proofs=[], suspended={}),
    "hostile groups": masked_run(proofs=[Proof("<b>", 1, "<i>")], suspended={"<u>": "\u202e"}),
    "nothing measured": RunSummary("r", "clean", "sums", 4, 10, 40, rounds=[RoundSummary(1, 1), RoundSummary(2, 1)]),
    "diverged": a_run(FEW, [one_round(n, FEW, loss=float("nan"), accuracy=float("nan")) for n in (1, 2)]),
    "hostile": a_run(
        ["<script>alert(1)</script>", 'a&"b\0'], [one_round(1, ["<b>", "\u202ex"])], run="</title><script>"
    ),
}


@pytest.mark.parametrize("name", RUNS)
def test_every_page_is_well_formed_and_self_contained(name: str) -> None:
    page = Reading(render(RUNS[name]))
    assert set(page.tags).isdisjoint({"link", "iframe", "object", "b/", "i", "u"})
    assert not {name for each in page.attributes for name in each} & {"src", "href", "style", "onerror", "onload"}
    assert not re.search(r"url\(|@import", "".join(page.styles))
    assert [kind for kind, _ in page.scripts if kind != "application/json"] == [*charts.SCRIPTS.values()]
    assert len(render(RUNS[name])) < 1_000_000


@pytest.mark.parametrize("name", RUNS)
def test_the_policy_names_what_the_page_brings_by_its_hash(name: str) -> None:
    page = Reading(render(RUNS[name]))
    (policy,) = [each["content"] for each in page.attributes if each.get("http-equiv") == "Content-Security-Policy"]
    rules = {rule.split()[0]: rule.split()[1:] for rule in policy.split("; ")}
    run = [charts.source_hash(text) for kind, text in page.scripts if kind != "application/json"]
    assert rules == {
        "default-src": ["'none'"],
        "script-src": run,
        "style-src": [charts.source_hash("".join(page.styles)), charts.PLOT_STYLE],
        "img-src": ["data:"],
        "base-uri": ["'none'"],
    }


def words(page: str) -> str:
    return Reading(page).text


def test_the_page_says_the_key_figures() -> None:
    text = words(render(RUNS["usual"]))
    for figure in (
        "85 %",
        "75 %",
        "worst class: 50 %",
        "5 committed, of 5",
        "1 min 30 s",
        "200 B 0.5 x float32",
        "ab" * 32,
    ):
        assert figure in text, figure
    assert "data.alpha 0.5" in text
    assert "tls true" in text


def test_losses_are_named_with_their_reasons() -> None:
    rounds = [
        one_round(1, FEW, accepted=["ann"], excluded=[("bob", "norm-bound")]),
        one_round(2, FEW, accepted=[], dropped=FEW, gone=["ann"]),
        one_round(3, FEW, outcome="void", accepted=[]),
    ]
    text = words(render(a_run(FEW, rounds)))
    assert f"excluded: {reason('norm-bound')} 1" in text
    assert f"1 bob excluded {reason('norm-bound')}" in text
    assert "2 bob late sent nothing in time" in text
    assert "2 ann gone its connection had ended" in text
    assert "3 all round lost void" in text
    assert "2 committed, of 3" in text
    assert "Nobody dropped out" not in text
    assert "Nobody dropped out" in words(render(RUNS["usual"]))


def test_what_was_not_measured_is_said() -> None:
    text = words(render(RUNS["nothing measured"]))
    assert "not measured" in text
    assert "not known" in text
    assert "nobody was asked" in text
    assert "No round was finished" in words(render(RUNS["no round"]))


def test_the_page_says_what_the_server_saw() -> None:
    assert "Nothing was masked" in words(render(RUNS["usual"]))
    assert "Who was added up" not in words(render(RUNS["usual"]))
    text = words(render(RUNS["sketches"]))
    for said in (
        "of every single client 96 numbers of its update",
        "(the server does not know)",
        "clients' data, summed",
        "Clients by their own accuracy, version 3",
        "75 to 100 %",  # a bucket
        "Training examples by class, all clients together",
        "1 of 8 groups were void",
        "3 3 a sketch was false",
        "1 to 4 4 client-1, client-2, client-3, client-4 1 to 4 3 client-5, client-6, client-7",
        "3 client-5 proved: its sketch is not that of its update",
        "client-1 suspended: silent 3 times",
        "3 updates left out",
        "in a void group",
    ):
        assert said in text, said
    sums = words(render(RUNS["sums"]))
    assert "nothing of a single one" in sums
    assert "No client was proved to have broken the protocol" in sums


def test_every_mode_has_its_words() -> None:
    assert sorted(WORDS) == ["sketches", "sums", "updates"]
    unknown = words(render(a_run(FEW, [one_round(1, FEW)], server_sees="")))
    assert "What the server saw not recorded" in unknown


def test_a_long_table_is_cut_and_says_so() -> None:
    rounds = [one_round(n, MANY, dropped=MANY, accepted=[]) for n in (1, 2)]
    assert "and 100 more rows" in words(render(a_run(MANY, rounds)))


def test_names_are_shown_and_never_obeyed() -> None:
    page = render(RUNS["hostile"])
    assert "\u202e" not in page
    assert "\0" not in page
    assert "<script>alert(1)</script>" in words(page)
    assert "alert" not in "".join(text for kind, text in Reading(page).scripts if kind != "application/json")


def test_without_scripts_the_tables_say_every_number() -> None:
    page = Reading(render(RUNS["usual"]))
    assert "Charts need JavaScript; the tables below them have every number." in page.text
    assert len(page.charts) == page.tags.count("figure") > 5
    assert "Accuracy by round round accuracy balanced accuracy 1 81 % 71 % 2 82 % 72 %" in page.text


def test_the_same_summary_gives_the_same_page() -> None:
    assert render(RUNS["usual"]) == render(RUNS["usual"])
