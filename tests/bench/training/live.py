"""Federations of real processes on rough data: masked rounds over mutual TLS, several methods on the same data.

What is measured is what the server's worker finds on the test set that nobody trained on.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Annotated, Any, cast

import typer

from roughfed.config import ClientConfig, FederationConfig
from roughfed.config.client import PolicySettings
from roughfed.config.template import render_template
from roughfed.data.federate import holdings
from roughfed.data.rough import task_classes
from roughfed.data.roughness import roughness
from roughfed.deploy.demo.federations import Act
from roughfed.deploy.demo.folder import DemoPlace, furnish
from roughfed.deploy.demo.live_view import DemoScene
from roughfed.deploy.demo.memorised import with_memorised
from roughfed.deploy.demo.running import Show, play
from roughfed.deploy.speed.measure import machine
from roughfed.deploy.summary import run_summary
from roughfed.registry import look_up
from roughfed.report.summary import RunSummary, TaskSpan, last_known, task_matrix, with_class_counts
from tests.bench.command import Benchmark, Seeds, names

NOTHING: Mapping[str, Any] = {}
CLASSES = 10
AT_ONCE = PolicySettings().max_model_rounds


@dataclass(frozen=True, slots=True)
class Protocol:
    """Data, clients and rounds that several methods are played on.

    Attributes:
        about: in one line.
        data: keys of [data] of every client.
        model: keys of [model].
        trainer: learning settings that all conditions have in common.
        conditions: name -> what differs, keys of [trainer].
        clients: K.
        rounds: R.
        server: settings of the server by dotted key, in every condition but plain.
    """

    about: str
    data: Mapping[str, Any]
    model: Mapping[str, Any]
    trainer: Mapping[str, Any]
    conditions: Mapping[str, Mapping[str, Any]]
    clients: int = 10
    rounds: int = 30
    server: Mapping[str, Any] = field(default_factory=lambda: NOTHING)


FASHION: Mapping[str, Any] = {"name": "fashion-mnist", "partition": "dirichlet", "test_fraction": 0.02}
LOCAL: Mapping[str, Any] = {"epochs": 1, "batch_size": 64, "lr": 0.05, "momentum": 0.9}

NOISY = Protocol(
    "60 % symmetric noise on half of 10 clients, 20 rounds of 2 epochs",
    data={**FASHION, "scenario": "noisy", "noise": 0.6, "noisy_clients": 0.5, "alpha": 1.0},
    model={"name": "mlp"},
    trainer={**LOCAL, "epochs": 2},
    conditions={
        "plain": {},
        "noisy": {"method": "noisy"},
        "noisy, self-weighted": {"method": "noisy", "self_weight": True},
    },
    rounds=20,
)

PROTOCOLS: Mapping[str, Protocol] = {
    "long-tail": Protocol(
        "imbalance 100 in reversed order, 10 clients at Dirichlet(0.5), 30 rounds",
        data={**FASHION, "scenario": "long-tail", "imbalance": 100.0, "alpha": 0.5},
        model={"name": "mlp"},
        trainer={**LOCAL, "lr_decay": 0.98},
        conditions={
            "plain": {},
            "balanced-softmax, local prior": {"method": "balanced-softmax", "prior": "local"},
            "balanced-softmax, global prior": {"method": "balanced-softmax", "prior": "global"},
            "long-tail": {"method": "long-tail", "prior": "global"},
        },
    ),
    "noisy-symmetric": NOISY,
    "noisy-asymmetric": replace(
        NOISY,
        about=NOISY.about.replace("symmetric", "asymmetric"),
        data={**NOISY.data, "noise_kind": "asymmetric"},
    ),
    "continual": Protocol(
        "5 tasks of 2 classes that reach 10 clients at different times, 27 rounds",
        data={**FASHION, "scenario": "continual", "tasks": 5, "rounds_per_task": 5, "stagger": 2, "alpha": 100.0},
        model={"name": "cnn-small"},
        trainer={**LOCAL, "momentum": 0.0},
        conditions={
            "plain": {},
            "er": {"method": "er"},
            "continual": {"method": "continual"},
        },
        rounds=27,
    ),
    "rough": Protocol(
        "imbalance 20, 40 % symmetric noise on half of 10 clients, 2 tasks, 24 rounds",
        data={
            **FASHION,
            "scenario": "rough",
            "imbalance": 20.0,
            "noise": 0.4,
            "noisy_clients": 0.5,
            "tasks": 2,
            "rounds_per_task": 12,
            "alpha": 10.0,
        },
        model={"name": "mlp"},
        trainer={**LOCAL, "epochs": 2},
        conditions={
            "plain": {},
            "continual": {"method": "continual"},
            "rough": {"method": "rough"},
            "long-tail": {"method": "long-tail"},
            "noisy": {"method": "noisy"},
        },
        rounds=24,
    ),
}


@dataclass(frozen=True, slots=True)
class LiveOptions:
    """Which federations are played."""

    protocol: Annotated[str, typer.Option(help="long-tail, noisy-symmetric, noisy-asymmetric, continual or rough.")] = (
        "long-tail"
    )
    conditions: Annotated[Sequence[str], names("Conditions of the protocol.")] = ()
    methods: Annotated[Sequence[str], names("Methods beside or instead.")] = ()
    seeds: Seeds = (0, 1, 2)
    server_sees: Annotated[str, typer.Option(help="What reaches the server of a single client.")] = "sketches"
    rounds: Annotated[int, typer.Option(min=0, help="Rounds; 0 = the protocol's.")] = 0


def run_live_bench(options: LiveOptions, *, say: Callable[[str, Mapping[str, object]], None]) -> dict[str, object]:
    """Play every condition with every seed.

    Args:
        options: what to play.
        say: gets each condition's name and figures as soon as they are there.

    Returns:
        the options, the protocol in words; `results`: condition -> figure -> mean and spread over the seeds.

    Raises:
        ConfigError: an unknown protocol or condition.
        ProcessDied: a process ended when it should not have.
    """
    protocol = look_up(PROTOCOLS, options.protocol, key="--protocol")
    wanted = {name: look_up(protocol.conditions, name, key="--conditions") for name in options.conditions}
    conditions = wanted or ({} if options.methods else dict(protocol.conditions))
    conditions = {**conditions, **{method: {"method": method} for method in options.methods}}
    runs: list[dict[str, RunSummary]] = []
    names = list(conditions)
    # The same first model for all of them: a masked client answers so many rounds on one model, and then no more.
    turns = [{name: conditions[name] for name in names[at : at + AT_ONCE]} for at in range(0, len(names), AT_ONCE)]
    for seed in options.seeds:
        runs.append({name: run for turn in turns for name, run in played(protocol, turn, options, seed=seed).items()})
        for name, run in runs[-1].items():  # a bench of an hour that is stopped has shown what it found
            say(f"seed {seed}: {name}", {key: _spread([value]) for key, value in _figures(run).items()})
    found: dict[str, object] = {}
    for name in conditions:
        figures = [_figures(run[name]) for run in runs]
        found[name] = spread = {key: _spread([f[key] for f in figures]) for key in figures[0]}
        say(name, spread)
    return {"bench": "live", "about": protocol.about, **asdict(options), "results": found, "machine": machine()}


def played(
    protocol: Protocol, conditions: Mapping[str, Mapping[str, Any]], options: LiveOptions, *, seed: int
) -> dict[str, RunSummary]:
    """Some conditions with one seed, one after the other, by the same living clients."""
    data = {**protocol.data, "clients": protocol.clients, "seed": seed}
    rounds = options.rounds or protocol.rounds
    names = [f"client-{number:02d}" for number in range(1, protocol.clients + 1)]
    clients = {name: render_template(ClientConfig, _client(data, protocol, index)) for index, name in enumerate(names)}
    with tempfile.TemporaryDirectory(prefix="roughfed-live-") as folder:
        place = DemoPlace(Path(folder))
        shows: list[Show] = []
        for number, trainer in enumerate(conditions.values()):
            server = {**_server(protocol, options, rounds=rounds, seed=seed), **(protocol.server if trainer else {})}
            server |= {f"trainer.{key}": value for key, value in {**protocol.trainer, **trainer}.items()}
            fed, starts = render_template(FederationConfig, server), names if number == 0 else ()
            act = Act("live", "", rounds, fed, clients, starts=starts)
            own = place if number == 0 else place.act(f"condition-{number}")
            furnish(own, act.fed, act.clients if number == 0 else {})
            scene = DemoScene("", folder, dict.fromkeys(names, 0), rounds, server_sees=options.server_sees)
            shows.append(Show(act, own, scene, Unseen()))
        play(shows, place)
        found: dict[str, RunSummary] = {}
        for name, show in zip(conditions, shows, strict=True):
            run = replace(run_summary(show.place.server), tasks=_tasks(data, rounds))
            if run.tasks:
                held = holdings(**cast("Any", {**data, "data_dir": None}))
                run = with_class_counts(run, held.sum(axis=0).tolist())
            found[name] = with_memorised(run, show.place, data)
        return found


class Unseen:
    """A screen that shows nothing."""

    def running(self) -> AbstractContextManager[Any]:
        """See Screen."""
        return nullcontext()

    def changed(self) -> None:
        """See Screen."""


def _server(protocol: Protocol, options: LiveOptions, *, rounds: int, seed: int) -> dict[str, object]:
    return {
        "federation.name": "bench",
        "federation.seed": seed,
        "server.host": "127.0.0.1",
        "server.port": 0,
        "server.enrol_port": 0,
        "server.http": False,
        "server.drain_s": 2.0,
        "round.rounds": rounds,
        "round.min_clients": protocol.clients,
        "round.quorum": 1.0,
        "round.deadline": 600.0,
        "data.name": protocol.data["name"],
        "privacy.server_sees": options.server_sees,
        **{f"model.{key}": value for key, value in protocol.model.items()},
    }


RUNS = 10
"""Runs that a client takes part in: more than one turn has."""


def _client(data: Mapping[str, Any], protocol: Protocol, index: int) -> dict[str, object]:
    return {
        **{f"data.{key}": value for key, value in data.items()},
        "data.index": index,
        **{f"model.{key}": value for key, value in protocol.model.items()},
        "device.name": "cpu",
        "device.threads": 1,
        "http.enabled": False,
        "policy.server_sees": "updates",  # all of them are the bench's own
        "client.stay": RUNS,
        "policy.max_counts": RUNS,
    }


def _tasks(data: Mapping[str, Any], rounds: int) -> list[TaskSpan]:
    rough = roughness(str(data["name"]), str(data["scenario"]), data)
    if rough.tasks == 1:
        return []
    ends = [min(rounds, rough.rounds_per_task * (at + 1) + rough.stagger) for at in range(rough.tasks)]
    ends[-1] = rounds
    groups = task_classes(CLASSES, rough.tasks)
    return [TaskSpan(group.tolist(), end) for group, end in zip(groups, ends, strict=True)]


def _figures(run: RunSummary) -> dict[str, float | None]:
    tasks = task_matrix(run)
    names = ("accuracy", "balanced_accuracy", "head_accuracy", "medium_accuracy", "tail_accuracy", "worst_class")
    found = {name: last_known(getattr(r, name) for r in run.rounds) for name in (*names, "memorised_wrong")}
    found["forgetting"] = tasks.forgetting if tasks is not None else None
    found["seconds"] = sum(r.seconds for r in run.rounds)
    found["void_groups"] = float(sum(bool(group.void) for r in run.rounds for group in r.groups))
    return found


def _spread(values: Sequence[float | None]) -> dict[str, float] | None:
    known = [v for v in values if v is not None]
    if not known:
        return None
    return {"mean": fmean(known), "std": stdev(known) if len(known) > 1 else 0.0}


def _line(name: str, figures: Mapping[str, object]) -> str:
    known = [f"{key} {_shown(value)}" for key, value in figures.items() if value is not None]
    return f"{name:<32} {', '.join(known)}"


def _shown(value: object) -> str:
    return f"{value['mean']:.3f}±{value['std']:.3f}" if isinstance(value, Mapping) else str(value)


BENCH = Benchmark(LiveOptions, run_live_bench, _line)
