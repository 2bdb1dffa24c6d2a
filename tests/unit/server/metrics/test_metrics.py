"""Server and client metrics. Run as a script, this file writes docs/metrics.md anew."""

from __future__ import annotations

import ast
import inspect
import math
import shutil
import subprocess
import textwrap
from pathlib import Path
from types import FunctionType

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from roughfed import telemetry
from roughfed.client import metrics as client_metrics
from roughfed.client.metrics import ClientMetrics
from roughfed.report.words import REASONS
from roughfed.server import metrics as server_metrics
from roughfed.server.defence import RULES, Situation, view_of_arrays
from roughfed.server.metrics import ServerMetrics
from roughfed.server.metrics.clients import CLIENT_STATES
from roughfed.server.metrics.defence import DEFENCE_REASONS
from roughfed.server.metrics.operation import FRESH_S
from roughfed.server.metrics.recorder import PARTS
from roughfed.server.metrics.stopwatch import Spent

ROOT = Path(__file__).parents[4]
DOC = ROOT / "docs" / "metrics.md"
TABLES = {"server": server_metrics, "client": client_metrics}


ABOUT = """\
# Metrics

Written by `python tests/unit/server/metrics/test_metrics.py` from the tables in `server/metrics/` and
`client/metrics.py`; a test compares. Labels take the values listed, or `other`. A label without a list is
filled at start-up (codecs, rules, versions) or bounded (`client`, by `metrics.per_client`).
Histograms have `_bucket`, `_sum` and `_count`. A gauge that is not known is `NaN`, or not there.

The server's page has at most 520 series, and those of single clients: of 20 with `metrics.per_client = "top"`, of 200
at most with `"all"`, of none with `"off"`. Such a series says when a client was last seen, how many updates it sent,
and how many rounds left it out; with `privacy.server_sees` other than `"sums"` also what it contributed. Losses,
accuracies, norms and machines are shown of all clients together. Neither round numbers nor free text are labels.

What a client tells of its machine (`policy.share_machine`) comes with its heartbeats, so that the server's page knows
memory, GPUs and clocks of machines that no Prometheus reaches. How many examples it trained on it tells only where the
server sees the updates.

Telemetry never fails a round: what cannot be recorded is logged once and left out.
"""


def document() -> str:
    parts = [ABOUT, "## Server\n"]
    for subject in server_metrics.SUBJECTS:
        heading = subject.__name__.rpartition(".")[2].capitalize()
        parts += [f"### {heading}\n", f"{str(subject.__doc__).splitlines()[0]}\n"]
        parts += [telemetry.markdown(server_metrics.PREFIX, subject.FAMILIES)]
    parts += ["### The process\n", telemetry.markdown(server_metrics.PREFIX, server_metrics.FAMILIES[-2:])]
    parts += ["## Client\n", telemetry.markdown(client_metrics.PREFIX, client_metrics.FAMILIES).rstrip("\n")]
    return "\n".join(parts) + "\n"


def samples(page: bytes) -> dict[str, float]:
    """`name{label=value,...}` -> value, as a scraper reads the page."""
    out: dict[str, float] = {}
    for family in text_string_to_metric_families(page.decode()):
        for name, labels, value, *_ in family.samples:
            inside = ",".join(f"{key}={labels[key]}" for key in sorted(labels))
            out[f"{name}{{{inside}}}" if inside else name] = value
    return out


class Clock:
    def __init__(self, at: float) -> None:
        self.at = at

    def __call__(self) -> float:
        return self.at


def busy_server() -> ServerMetrics:
    """Every method called once with good values."""
    m = ServerMetrics(per_client="all")
    m.round_opened(1, 1.7e9, 60.0)
    m.phase("configure")
    m.dispatched(0.01)
    m.participants("report", 4)
    m.dropout("report", "deadline")
    m.update("accepted", client="a")
    m.update("rejected", "not-finite", client="b")
    m.seen("a")
    m.transfer("up", 100, 400, "identity")
    m.resumed()
    m.broke_off("stalled")
    m.defended("none", 0.01, rows=3, tolerated=1, scores={"a": 1.0, "b": 9.0}, weights={"a": 0.75, "c": 0.25})
    m.excluded("none", "multi-krum", client="b")
    m.aggregated("examples", 0.2, norm=0.5)
    m.evaluated(accuracy={"global": 0.9, "worst10": None}, loss=0.3, macro_f1=0.8, calibration_error=0.1)
    m.round_closed("committed", 3.0, again=True)
    m.worked({Spent("decode", "identity"): 0.01, Spent("sign"): 0.002})
    m.needed(4)
    m.fleet({"fleet_train_seconds": [1.0, 3.0], "fleet_clock_skew_seconds": [-0.5]})
    m.paused(False)
    m.alerts({("RoundStalled", "critical"): True})
    m.http("/api/status", "200")
    m.disk(free_bytes=10, total_bytes=20)
    m.weighed({"a": 0.5, "b": 0.5})
    m.ledger(3)
    m.clients({"connected": 4, "idle": 3})
    m.rpc_started("Session")
    m.rpc_handled("GetModel", "OK", 0.5)
    m.streams(4)
    m.journal_committed(0.004)
    m.storage(journal_bytes=10, blob_bytes=20)
    m.certificate("server", 2e9)
    m.enrolled("enrolled")
    m.spread({"global": {"clients": 2, "mean": 0.5}, "worse_than_alone": 0.0})
    m.fairness({"rule": "term", "weights": {"a": 1.0}})
    m.clusters({"clusters": {"0": ["a"]}, "event": "split"})
    m.tiers({"fast": {"clients": 1, "bytes": 9, "void": ""}})
    m.contribution({"scores": {"a": {"total": 0.1}}, "free_riders": {"a": "zero"}})
    m.forget("b")
    return m


def busy_client() -> ClientMetrics:
    m = ClientMetrics()
    m.phase("training")
    m.connected(True)
    m.reconnecting("asked")
    m.round_closed("accepted")
    m.round_begun(3)
    with m.codec("identity", "encode"), m.crypto("sign"):
        pass
    m.clock_skew(-0.25)
    m.machine(resident_bytes=1, held_bytes=2, gpu_memory_bytes=3, gpu_utilization=0.5)
    m.trained(3.0, 640, loss=0.5)
    m.transfer("down", 400, "identity")
    m.resumed()
    m.certificate(2e9)
    return m


PAGES = {"server": busy_server, "client": busy_client}
MAKERS = {"server": ServerMetrics, "client": ClientMetrics}


def recording(made: type) -> dict[str, FunctionType]:
    """The methods with which a page is told something, by name."""
    found = inspect.getmembers(made, inspect.isfunction)
    return {name: f for name, f in found if not name.startswith("_") and name not in ("render", "transferred")}


def test_the_documentation_is_the_table() -> None:
    assert DOC.read_text() == document(), "run: python tests/unit/server/metrics/test_metrics.py"


@pytest.mark.parametrize("side", PAGES)
def test_names_follow_the_rules(side: str) -> None:
    families = {family.name: family for family in text_string_to_metric_families(PAGES[side]().render().decode())}
    prefix = TABLES[side].PREFIX

    assert len(families) == len(TABLES[side].FAMILIES)
    for family in TABLES[side].FAMILIES:
        name = prefix + family.name
        assert family.name.endswith("_total") == (family.kind == "counter"), name
        assert families[name.removesuffix("_total") if family.kind == "counter" else name].type == family.kind
        assert not any(unit in name for unit in ("_ms", "_millis", "_kb", "_mb", "_percent", "_minutes")), name
        assert family.kind != "histogram" or name.endswith("_seconds"), name
        assert not {"round", "update", "update_id", "run", "message"} & set(family.labels), name
        assert "timestamp" not in name or name.endswith("_timestamp_seconds"), name
        assert family.meaning.endswith("."), name


ON_SCRAPE = {
    "client_updates_total": "update",
    "client_excluded_total": "excluded",
    "client_last_seen_timestamp_seconds": "seen",
    "client_contribution_score": "contribution",
    "alert": "alerts",
    "disclosed_ratio": "disclosed",
    "disclosed_rounds": "disclosed",
    "disclosed_fewest_members": "disclosed",
}
"""Families that are read when the page is asked for: the method that says where."""
BY_THEMSELVES = {telemetry.BUILD_INFO.name, telemetry.RESIDENT_BYTES.name}


def recorders(side: str) -> dict[str, set[str]]:
    """Of each family, the methods that record it."""
    found: dict[str, set[str]] = {family.name: set() for family in TABLES[side].FAMILIES}
    for name, function in recording(MAKERS[side]).items():
        for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(function)))):
            if isinstance(node, ast.Constant) and node.value in found:
                found[str(node.value)].add(name)
    return found | {name: {method} for name, method in ON_SCRAPE.items() if name in found}


def used(side: str) -> set[str]:
    """Names of the methods that the rest of the package calls (or hands on) of a `metrics`."""
    own = {ROOT / side / "metrics.py", *(ROOT / side / "metrics").glob("*.py")}
    sources = [path for path in (ROOT / side).rglob("*.py") if path not in own]
    nodes = (node for path in sources for node in ast.walk(ast.parse(path.read_text())))
    attributes = (node for node in nodes if isinstance(node, ast.Attribute))
    found = {node.attr for node in attributes if ast.unparse(node.value).endswith("metrics")}
    return found | {other for name in found & recording(MAKERS[side]).keys() for other in handed_on(side, name)}


def handed_on(side: str, name: str) -> set[str]:
    """The methods of the same page to which a method hands on what it is told."""
    source = textwrap.dedent(inspect.getsource(recording(MAKERS[side])[name]))
    return {node.attr for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Attribute)}


@pytest.mark.parametrize("side", PAGES)
def test_every_family_is_recorded_by_the_package(side: str) -> None:
    called, by_family = used(side), recorders(side)

    assert [name for name, how in by_family.items() if name not in BY_THEMSELVES and not how & called] == []
    assert "render" in called  # the search finds what is there


@pytest.mark.parametrize("side", PAGES)
def test_promtool_accepts_the_page(side: str) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("needs promtool")

    done = subprocess.run(
        [promtool, "check", "metrics"], input=PAGES[side]().render(), capture_output=True, check=False, timeout=60
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_two_servers_in_one_process_do_not_share() -> None:
    one, two = ServerMetrics(), ServerMetrics()
    one.round_opened(7, 1.7e9, 60.0)

    assert samples(one.render())["roughfed_round_current"] == 7
    assert samples(two.render())["roughfed_round_current"] == 0


def test_a_round_as_the_page_shows_it() -> None:
    now, timer = Clock(1_700_000_000.0), Clock(10.0)
    m = ServerMetrics(now=now, timer=timer)
    m.round_opened(5, 1_700_000_000.0, 60.0)
    m.phase("configure")
    timer.at = 12.5
    m.phase("report")
    before = samples(m.render())
    m.round_closed("committed", 4.0)
    m.round_closed("abandoned", 9.0)
    now.at += 50  # an abandoned round is no success
    after = samples(m.render())

    assert before["roughfed_round_phase{phase=report}"] == 1
    assert before["roughfed_round_phase{phase=configure}"] == 0
    assert sum(v for k, v in before.items() if k.startswith("roughfed_round_phase{")) == 1
    assert before["roughfed_phase_duration_seconds_sum{phase=configure}"] == 2.5
    assert math.isnan(before["roughfed_round_last_success_timestamp_seconds"])
    assert after["roughfed_round_last_success_timestamp_seconds"] == 1_700_000_000.0
    assert after["roughfed_rounds_total{outcome=committed}"] == 1
    assert after["roughfed_round_duration_seconds_sum"] == 13.0


def test_counters_start_at_zero_and_unknown_gauges_do_not() -> None:
    page = samples(ServerMetrics().render())

    assert page["roughfed_updates_rejected_total{reason=signature}"] == 0
    assert math.isnan(page["roughfed_eval_loss"])
    assert not any(name.startswith("roughfed_eval_accuracy_ratio") for name in page)


def test_an_unknown_label_becomes_other() -> None:
    m = ServerMetrics(per_client="off")
    series = len(samples(m.render()))
    for i in range(500):
        m.update("rejected", f"made up {i}\n\"'\\")
        m.dropout(f"phase {i}", f"reason {i}")
        m.enrolled(f"result {i}")
        m.clients({f"state {i}": 1, f"more {i}": 2})
    page = samples(m.render())

    assert page["roughfed_updates_rejected_total{reason=other}"] == 500
    assert page["roughfed_dropouts_total{phase=other,reason=other}"] == 500
    assert page["roughfed_clients{state=other}"] == 3
    assert len(page) - series <= len(CLIENT_STATES) + 2  # the states, shown for the first time, and a pair of others


def test_an_upload_that_breaks_off_is_no_update_yet() -> None:
    m = ServerMetrics()
    m.broke_off("storage")
    m.update("late", "late", client="a")
    page = samples(m.render())

    assert page["roughfed_updates_rejected_total{reason=storage}"] == 1
    assert page["roughfed_updates_rejected_total{reason=late}"] == 1
    assert page["roughfed_updates_total{result=rejected}"] == 0
    assert page["roughfed_updates_total{result=late}"] == 1


def test_named_codecs_and_rules_are_known() -> None:
    m = ServerMetrics(labels={"codec": ("identity", "lanes"), "rule": ("krum",)})
    m.transfer("up", 1, 4, "lanes")
    m.transfer("up", 1, 4, "zip-bomb")
    m.aggregated("krum", 0.1, norm=3.0)
    page = samples(m.render())

    assert page["roughfed_transfer_bytes_total{codec=lanes,direction=up}"] == 1
    assert page["roughfed_transfer_bytes_total{codec=other,direction=up}"] == 1
    assert page["roughfed_aggregate_seconds_count{rule=krum}"] == 1
    assert page["roughfed_aggregate_norm"] == 3


def test_what_the_defence_found_is_shown_as_a_whole_and_not_by_client() -> None:
    m = ServerMetrics(per_client="off", labels={"defence": ("krum",)})
    m.defended(
        "krum", 0.5, rows=3, tolerated=1, scores={"ann": 1, "bob": 2, "eve": 40}, weights={"ann": 0.9, "bob": 0.1}
    )
    m.excluded("krum", "multi-krum", client="eve")
    m.excluded("krum", "a user's own reason", client="eve")
    m.excluded("a user's own rule", "multi-krum", client="eve")
    page = samples(m.render())

    assert page["roughfed_defence_seconds_sum{defence=krum}"] == 0.5
    assert (page["roughfed_defence_rows"], page["roughfed_defence_tolerated"]) == (3, 1)
    assert [page[f"roughfed_defence_score{{part={part}}}"] for part in PARTS] == [1, 2, 40]
    assert [page[f"roughfed_defence_weight_ratio{{part={part}}}"] for part in PARTS] == [0.2, 1, 1.8]
    assert page["roughfed_defence_excluded_total{defence=krum,reason=multi-krum}"] == 1
    assert page["roughfed_defence_excluded_total{defence=krum,reason=other}"] == 1
    assert page["roughfed_defence_excluded_total{defence=other,reason=multi-krum}"] == 1
    assert b'"ann"' not in m.render()
    assert b'"eve"' not in m.render()

    m.defended("krum", 0.5, rows=3, tolerated=1, scores={}, weights={})
    assert math.isnan(samples(m.render())["roughfed_defence_score{part=median}"])


WEIGHING = {"none", "nnm", "median", "trimmed-mean", "geometric-median", "centered-clipping"}
"""Rules that leave nobody out."""


@pytest.mark.parametrize("name", RULES)
def test_every_reason_of_a_listed_rule_is_counted_and_has_words(name: str) -> None:
    rng, given = np.random.default_rng(7), set[str]()
    for _ in range(20):
        rows = {f"c{i:02d}": rng.normal(1, 0.5, 40).astype(np.float32) for i in range(15)}
        rows |= {"c01": rows["c00"], "c02": -9 * rows["c00"], "c03": 30 * rows["c03"]}
        extras = dict.fromkeys(RULES[name].wants | RULES[name].needs, np.ones(40, np.float32))
        for kind in RULES[name].sees:
            shown = view_of_arrays(rows, kind=kind, extras=extras)
            given |= set(RULES[name].judge(shown, Situation(3)).excluded.values())

    assert given <= set(DEFENCE_REASONS)
    assert given <= REASONS.keys()
    assert (
        given or RULES[name].gives == "coordinates" or name in ("none", "centered-clipping", "geometric-median", "nnm")
    )


def test_alerts_that_nobody_looks_at_any_more_are_not_shown() -> None:
    """A server that hangs would else look as well, or as ill, as it was."""
    timer = Clock(10.0)
    m = ServerMetrics(timer=timer)
    assert not any(name.startswith("roughfed_alert") for name in samples(m.render()))
    m.alerts({("RoundStalled", "critical"): True, ("DiskFilling", "warning"): False})
    timer.at += FRESH_S - 1
    page = samples(m.render())
    assert page["roughfed_alert{alert=RoundStalled,severity=critical}"] == 1
    assert page["roughfed_alert{alert=DiskFilling,severity=warning}"] == 0
    m.alerts({("DiskFilling", "critical"): True})  # the others are no alerts of the next look
    assert [name for name in samples(m.render()) if name.startswith("roughfed_alert")] == [
        "roughfed_alert{alert=DiskFilling,severity=critical}"
    ]
    timer.at += FRESH_S
    assert not any(name.startswith("roughfed_alert") for name in samples(m.render()))


def test_the_page_has_no_creation_times() -> None:
    assert b"_created" not in busy_server().render()


if __name__ == "__main__":
    DOC.write_text(document())
