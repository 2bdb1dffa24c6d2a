"""What a demo found out: figures for `--json`, a table for people, the report for later."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import cast

from rich.table import Table
from rich.text import Text

from roughfed.deploy.demo.federations import CLEAN_RUN, PLAIN_RUN
from roughfed.deploy.demo.folder import DemoPlace
from roughfed.deploy.demo.heterogeneity import Differences, differences
from roughfed.deploy.demo.options import ALPHA, DemoOptions
from roughfed.report.defence import caught
from roughfed.report.html import render
from roughfed.report.scale import percent, seconds, size
from roughfed.report.summary import RunSummary, compare, last_known, per_client_round
from roughfed.report.words import SEEN, VOID


@dataclass(frozen=True, slots=True)
class DemoResult:
    """The figures of a demo.

    Attributes:
        scenario: a row of SCENARIOS.
        method: the parts that trained.
        rounds: committed rounds.
        clients: K.
        server_sees: the mode.
        accuracy: of the final model on test data that nobody trained on, 0..1.
        balanced_accuracy: mean recall over classes, 0..1.
        client_accuracy: of the final model on each client's own held-out data, 0..1, by name; empty when masked.
        clients_accuracy: when masked: of the last model but one, on all clients' held-out data together, 0..1.
        client_accuracy_histogram: likewise, clients by their own accuracy, in ten buckets from 0 to 1.
        upload_bytes_per_client_round: mean over clients and rounds.
        download_bytes_per_client_round: likewise.
        float32_bytes: 4 x parameters.
        upload_ratio: upload_bytes_per_client_round / float32_bytes.
        download_ratio: likewise.
        groups: names of the clients in each group of the last round; empty where nothing is masked.
        void_groups: groups that gave no sum, over all rounds.
        excluded: client -> rounds in which its update was left out for a reason that is its own.
        exclusions: every update that was left out, or whose client broke a rule: round, client, reason.
        seconds_total: wall time, until the last process ended.
        seconds_per_round: median.
        model_digest: of the final parameters, hexadecimal.
        report: absolute path of the page.
        tail_accuracy: mean recall over the classes with fewest training examples.
        forgetting: mean over the earlier tasks of their best accuracy minus that at the end; None without tasks.
        memorised_wrong: share of the planted wrong labels that the model repeats; None without any.
        attack: what the attackers did; empty where nobody attacked.
        attackers: names of the clients that attacked.
        false_exclusions: of `excluded`, client-rounds of honest clients; None where nobody attacked.
        defence: rule that judged the updates.
        attack_success: of the examples that the attackers were after, the share that the model takes for what they
            want; None for an attack without such a goal.
        plain_attack_success: of the run without a defence.
        clean_attack_success: of the run without an attack.
        clean_accuracy: of the same clients without an attack and without a defence; None where that was not played.
        plain_accuracy: of plain FedAvg on the same data with the same seed, and under the same attack; None where there
            was nothing to compare.
        plain_balanced_accuracy: likewise.
        plain_tail_accuracy: likewise.
        plain_forgetting: likewise.
        plain_memorised_wrong: likewise.
        heterogeneity: what is known of clients that differ; None where nothing was measured.
    """

    scenario: str
    method: str
    rounds: int
    clients: int
    server_sees: str
    accuracy: float | None
    balanced_accuracy: float | None
    client_accuracy: Mapping[str, float]
    clients_accuracy: float | None
    client_accuracy_histogram: Sequence[int]
    upload_bytes_per_client_round: float
    download_bytes_per_client_round: float
    float32_bytes: int
    upload_ratio: float
    download_ratio: float
    groups: Sequence[Sequence[str]]
    void_groups: int
    excluded: Mapping[str, Sequence[int]]
    exclusions: Sequence[Mapping[str, object]]
    seconds_total: float
    seconds_per_round: float
    model_digest: str
    report: str
    attack: str = ""
    attackers: Sequence[str] = ()
    false_exclusions: int | None = None
    defence: str = "none"
    attack_success: float | None = None
    plain_attack_success: float | None = None
    clean_attack_success: float | None = None
    clean_accuracy: float | None = None
    tail_accuracy: float | None = None
    forgetting: float | None = None
    memorised_wrong: float | None = None
    plain_accuracy: float | None = None
    plain_balanced_accuracy: float | None = None
    plain_tail_accuracy: float | None = None
    plain_forgetting: float | None = None
    plain_memorised_wrong: float | None = None
    heterogeneity: Differences | None = None

    def data(self) -> dict[str, object]:
        """Plain values, for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Runs:
    """The runs of a demo.

    Attributes:
        last: what it is about.
        plain: plain FedAvg, under the same attack if there is one; None where it was not played.
        clean: the same without an attack; None where there is none.
    """

    last: RunSummary
    plain: RunSummary | None = None
    clean: RunSummary | None = None


def result_of(runs: Runs, place: DemoPlace) -> DemoResult:
    """The figures out of the summaries."""
    run, plain, clean = runs.last, runs.plain, runs.clean
    compared = asdict(compare(run, plain))
    if plain is not None:
        compared["plain_accuracy"] = last_known(r.accuracy for r in plain.rounds)
        compared["plain_attack_success"] = last_known(r.attack_success for r in plain.rounds)
    if clean is not None:
        compared["clean_accuracy"] = last_known(r.accuracy for r in clean.rounds)
        compared["clean_attack_success"] = last_known(r.attack_success for r in clean.rounds)
    found = caught(run)
    demo = run.config.get("demo")
    committed = [r for r in run.rounds if r.outcome == "committed"]
    together = next((r.together for r in reversed(run.rounds) if r.together), None)
    up, down = (
        per_client_round((getattr(r, field) for r in run.rounds), run.rounds) or 0.0
        for field in ("upload_bytes", "download_bytes")
    )
    return DemoResult(
        scenario=run.scenario,
        method=str(cast("Mapping[str, object]", demo)["method"]) if isinstance(demo, dict) else "",
        rounds=len(committed),
        clients=run.clients,
        server_sees=run.server_sees,
        accuracy=last_known(r.accuracy for r in run.rounds),
        client_accuracy=next(
            (r.client_accuracy for r in reversed(run.rounds) if r.client_accuracy), dict[str, float]()
        ),
        clients_accuracy=together.accuracy if together else None,
        client_accuracy_histogram=together.histogram if together else [],
        upload_bytes_per_client_round=up,
        download_bytes_per_client_round=down,
        float32_bytes=run.float32_bytes,
        upload_ratio=up / run.float32_bytes,
        download_ratio=down / run.float32_bytes,
        groups=[group.members for r in run.rounds[-1:] for group in r.groups],
        void_groups=sum(bool(group.void) for r in run.rounds for group in r.groups),
        excluded=found.excluded,
        exclusions=[{"round": r.round, "client": name, "reason": why} for r in run.rounds for name, why in r.excluded],
        attack=run.attack,
        attackers=run.hostile,
        false_exclusions=found.false_exclusions if run.hostile else None,
        defence=next((r.defence.rule for r in reversed(run.rounds) if r.defence is not None), "none"),
        attack_success=last_known(r.attack_success for r in run.rounds),
        seconds_total=run.seconds_total or 0.0,
        seconds_per_round=median(r.seconds for r in run.rounds) if run.rounds else 0.0,
        model_digest=run.model_digest,
        report=str(place.report),
        heterogeneity=differences(run),
        **compared,
    )


def write_report(runs: Runs, place: DemoPlace) -> None:
    """The page, and each run as JSON."""
    place.summary.write_text(runs.last.to_json(), encoding="utf-8")
    for name, run in ((PLAIN_RUN, runs.plain), (CLEAN_RUN, runs.clean)):
        if run is not None:
            place.act(name).summary.write_text(run.to_json(), encoding="utf-8")
    place.report.write_text(render(runs.last, plain=runs.plain, clean=runs.clean), encoding="utf-8")


def final_table(result: DemoResult) -> Table:
    """What to read at the end."""
    masked = result.server_sees != "updates"
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", justify="right", no_wrap=True)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(style="dim")
    if result.method != "plain":
        table.add_row("trained with", "", Text(result.method, overflow="fold"))  # one long word
    for row in attack_rows(result):
        table.add_row(*row)
    table.add_row("accuracy", *_beside(result, "accuracy", "on test data that nobody trained on"))
    table.add_row("balanced accuracy", *_beside(result, "balanced_accuracy", "mean over the classes"))
    for field, (words, about) in ROUGH.items():
        if getattr(result, field) is not None and (field != "tail_accuracy" or result.scenario in TAILED):
            table.add_row(words, *_beside(result, field, about))
    table.add_row("on clients' own data", *(_summed(result) if masked else _spread(result.client_accuracy)))
    table.add_row("server saw", result.server_sees, SEEN.get(result.server_sees, ""))
    if masked:
        table.add_row("groups", *_groups(result))
    table.add_row("up, client and round", *_bytes(result.upload_bytes_per_client_round, result))
    table.add_row("down, client and round", *_bytes(result.download_bytes_per_client_round, result))
    table.add_row("a round", seconds(result.seconds_per_round), f"median of {result.rounds}")
    table.add_row("in all", seconds(result.seconds_total), "starting every process included")
    same = "masks are drawn anew each time" if masked else "each client draws the order of its examples anew"
    table.add_row("model", result.model_digest[:16], same)
    return table


def attack_rows(result: DemoResult) -> list[tuple[str, str, str]]:
    """Who attacked, how often they were left out, and what it cost."""
    if not result.attackers:
        return []
    hits = {name: len(result.excluded.get(name, ())) for name in result.attackers}
    caught_ = ", ".join(f"{name} {count}x" for name, count in hits.items())
    rows = [("attack", result.attack, f"by {', '.join(result.attackers)}")]
    if result.server_sees == "sums" and result.defence == "none":
        rows.append(("defence", "none", "of sums nobody can be judged alone: only the clip norm binds the attackers"))
    else:
        rows.append(("defence", result.defence, f"left out: {caught_}, of {result.rounds} rounds"))
        rows.append(("honest left out", f"{result.false_exclusions}x", "client-rounds, of those who did no harm"))
    if result.attack_success is not None:
        about = "of what the attackers were after, taken for what they want"
        rows.append(("attackers' goal", *_beside(result, "attack_success", about)))
    return rows


ROUGH: Mapping[str, tuple[str, str]] = {
    "tail_accuracy": ("rare classes", "accuracy on those with fewest examples"),
    "forgetting": ("forgetting", "best accuracy on earlier tasks minus the last"),
    "memorised_wrong": ("wrong labels learnt", "share of the planted ones that the model repeats"),
}
"""What matters on rough data: figure -> its name and what it is."""

TAILED = ("long-tail", "rough")
"""Scenarios in which some classes are rare."""


def _beside(result: DemoResult, field: str, about: str) -> tuple[str, str]:
    """A figure, and what it is, with those of the other runs."""
    plain, clean = getattr(result, f"plain_{field}"), getattr(result, f"clean_{field}", None)
    others = [] if clean is None else [f"no attack {percent(clean)}"]
    if plain is not None:
        others.append(f"{'no defence' if result.clean_accuracy is not None else 'plain FedAvg'} {percent(plain)}")
    return _share(getattr(result, field)), "; ".join([", ".join(others), about] if others else [about])


def last_words(result: DemoResult, options: DemoOptions) -> list[str]:
    """Where the report is, and what to try next."""
    more = "roughfed demo --data fashion-mnist" if options.data == "digits" else "roughfed demo --data digits"
    alpha, skew = ("100", "even") if (options.alpha or ALPHA) < 0.3 else ("0.1", "very uneven")
    other, what = ("updates", "nothing masked") if options.server_sees != "updates" else ("sketches", "masked sums")
    scenario = NEXT.get(options.scenario, "continual") if options.attack != "alie" else "poisoned --attack backdoor"
    return [
        f"report: {result.report}",
        f"next:   roughfed demo --scenario {scenario}",
        f"        roughfed demo --alpha {alpha}   ({skew} shares)",
        f"        roughfed demo --server-sees {other}   ({what})",
        f"        {more}",
        "yours:  roughfed init, then server, invite and join",
    ]


NEXT: Mapping[str, str] = {
    "continual": "poisoned",
    "rough": "poisoned --attack backdoor",
    "poisoned": "heterogeneous",
    "heterogeneous": "poisoned --attack alie",
}
"""What to try after a scenario."""


def _share(value: float | None) -> str:
    return "not measured" if value is None else percent(value)


def _spread(by_client: Mapping[str, float]) -> tuple[str, str]:
    if not by_client:
        return "not measured", ""
    worst = min(by_client, key=lambda name: by_client[name])
    return f"{percent(by_client[worst])} to {percent(max(by_client.values()))}", f"lowest: {worst}"


def _summed(result: DemoResult) -> tuple[str, str]:
    """What the sums say: nobody's alone is known."""
    histogram = result.client_accuracy_histogram
    if result.clients_accuracy is None or not any(histogram):
        return "not measured", ""
    low = next(at for at, count in enumerate(histogram) if count) / len(histogram)
    return percent(result.clients_accuracy), f"from sums; no client below {percent(low)}"


def _groups(result: DemoResult) -> tuple[str, str]:
    sizes = " + ".join(str(len(group)) for group in result.groups)
    excluded = sum(row["reason"] != VOID for row in result.exclusions)
    return f"{sizes} clients", f"{result.void_groups} void, {excluded} updates excluded"


def _bytes(amount: float, result: DemoResult) -> tuple[str, str]:
    return size(amount), f"{amount / result.float32_bytes:.3g} x the model as float32" if result.float32_bytes else ""
