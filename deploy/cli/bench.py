"""`roughfed bench ...`: measurements of the framework itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from roughfed.deploy.cli import bench_load, bench_network
from roughfed.deploy.cli.bench_adapters import AdapterFlags, bench_adapters
from roughfed.deploy.cli.bench_classes import ClassesFlags, bench_classes
from roughfed.deploy.cli.bench_clusters import ClusterFlags, bench_clusters
from roughfed.deploy.cli.bench_contribution import ContributionFlags, bench_contribution
from roughfed.deploy.cli.bench_fairness import FairnessFlags, bench_fairness
from roughfed.deploy.cli.bench_free_riders import FreeRiderFlags, bench_free_riders
from roughfed.deploy.cli.bench_live import LiveFlags, bench_live
from roughfed.deploy.cli.bench_peers import PeersFlags, bench_peers
from roughfed.deploy.cli.bench_personal import PersonalFlags, bench_personal
from roughfed.deploy.cli.bench_poisoning import PoisoningFlags, bench_poisoning
from roughfed.deploy.cli.command import Answer, Context, command


@dataclass(frozen=True, slots=True)
class RoundFlags:
    """What a round carries."""

    params: Annotated[int, typer.Option(min=1, help="Parameters of the model.")] = 100_000
    clients: Annotated[int, typer.Option(min=1, help="Clients, each a process without torch.")] = 4
    rounds: Annotated[int, typer.Option(min=2, help="Rounds; the first one warms up and does not count.")] = 4
    server_sees: Annotated[str, typer.Option(help="What reaches the server of a single client.")] = "updates"
    no_floor: Annotated[bool, typer.Option("--no-floor", help="Skip the bare gRPC stream to compare with.")] = False


@dataclass(frozen=True, slots=True)
class SessionsFlags:
    """How many are connected, and for how long other calls are measured."""

    clients: Annotated[int, typer.Option(min=1, help="Idle sessions, each with its own certificate.")] = 500
    seconds: Annotated[float, typer.Option(min=0.1, help="How long other calls are measured meanwhile.")] = 10.0


@dataclass(frozen=True, slots=True)
class DispatchFlags:
    """How many wait for a job, and how often they get one."""

    clients: Annotated[int, typer.Option(min=1, help="Sessions that take jobs.")] = 200
    rounds: Annotated[int, typer.Option(min=1, help="Rounds that are opened; nothing is trained.")] = 10


@dataclass(frozen=True, slots=True)
class StragglerFlags:
    """Who is slow, and how slow."""

    clients: Annotated[int, typer.Option(min=5, help="Clients, each a process without torch.")] = 10
    slow: Annotated[float, typer.Option(help="Share of them that is slow, at most 0.2.")] = 0.2
    times: Annotated[float, typer.Option(min=1, help="How many times as long they take.")] = 10.0
    pace: Annotated[float, typer.Option(min=0.1, help="Seconds that a training of the others takes.")] = 6.0
    rounds: Annotated[int, typer.Option(min=3, help="Rounds; in the first one nobody is known.")] = 5
    server_sees: Annotated[str, typer.Option(help="What reaches the server of a single client.")] = "updates"


@dataclass(frozen=True, slots=True)
class AccuracyFlags:
    """Which federations learn, and how long."""

    clients: Annotated[int, typer.Option(min=4, help="Clients, all in this process.")] = 20
    rounds: Annotated[int, typer.Option(min=1, help="Rounds; the accuracies of the last 5 are averaged.")] = 40
    seeds: Annotated[int, typer.Option(min=1, help="Seeds 0, 1, ... that every condition is played with.")] = 3
    examples: Annotated[int, typer.Option(min=100, help="Training images in all, of Fashion-MNIST's 60,000.")] = 20_000
    alpha: Annotated[float, typer.Option(help="Skew of the Dirichlet division; smaller is more skewed.")] = 0.5
    attackers: Annotated[float, typer.Option(help="Share of hostile clients, where there are any.")] = 0.2
    conditions: Annotated[str, typer.Option(help="Names, with commas between them. [default: all of them]")] = ""


@dataclass(frozen=True, slots=True)
class LongTailFlags:
    """Which trainings, and how often."""

    seeds: Annotated[int, typer.Option(min=1, help="Seeds 0, 1, ... that every condition is played with.")] = 3
    conditions: Annotated[str, typer.Option(help="Names, with semicolons between them. [default: all of them]")] = ""


@dataclass(frozen=True, slots=True)
class NoisyFlags:
    """Which trainings, on which labels, and how often."""

    seeds: Annotated[int, typer.Option(min=1, help="Seeds 0, 1, ... that every method is played with.")] = 3
    methods: Annotated[str, typer.Option(help="Methods, with semicolons between them. [default: all rows]")] = ""
    kinds: Annotated[str, typer.Option(help="symmetric, asymmetric, clean, with commas between them.")] = ""


@dataclass(frozen=True, slots=True)
class ContinualFlags:
    """Which methods learn task after task."""

    seeds: Annotated[int, typer.Option(min=1, help="Seeds 0, 1, ... that every condition is played with.")] = 3
    conditions: Annotated[str, typer.Option(help="Names, with commas between them. [default: all of them]")] = ""


@dataclass(frozen=True, slots=True)
class AutoFlags:
    """Which clients choose."""

    clients: Annotated[int, typer.Option(min=1, help="Clients in each of the 12 cells.")] = 5
    model: Annotated[str, typer.Option(help="A listed model.")] = "mlp"
    noise_kind: Annotated[str, typer.Option(help="Of the wrong labels: symmetric or asymmetric.")] = "symmetric"
    seed: Annotated[int, typer.Option(help="Of everything.")] = 0


@dataclass(frozen=True, slots=True)
class TrainerFlags:
    """What is trained, and how often."""

    model: Annotated[str, typer.Option(help="A listed model, for images of 1 x 28 x 28.")] = "cnn-small"
    examples: Annotated[int, typer.Option(min=64, help="Images in one training.")] = 1024
    batch_size: Annotated[int, typer.Option(min=2, help="Images in one step.")] = 32
    repeats: Annotated[int, typer.Option(min=1, help="Timed runs of each kind; a part has a third of them.")] = 9
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu"
    no_parts: Annotated[bool, typer.Option("--no-parts", help="Time the loop only, and no part.")] = False


@dataclass(frozen=True, slots=True)
class FederatedRoughFlags:
    """Which federations of rough data learn."""

    seeds: Annotated[int, typer.Option(min=1, help="Seeds 0, 1, ... that every condition is played with.")] = 3
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of each federation.")] = 30
    conditions: Annotated[
        str, typer.Option(help="Beginnings of names, with semicolons between them. [default: all of them]")
    ] = ""


@dataclass(frozen=True, slots=True)
class DefenceSpeedFlags:
    """Which rules judge, and what."""

    clients: Annotated[int, typer.Option(min=1, help="Clients, a fifth of them hostile.")] = 100
    params: Annotated[int, typer.Option(min=1, help="Parameters of the model; 4 bytes of disk each for a client.")] = (
        10_000_000
    )
    rules: Annotated[str, typer.Option(help="Names, with commas between them. [default: all of them]")] = ""
    folder: Annotated[Path | None, typer.Option(help="Where the updates lie meanwhile. [default: a temporary one]")] = (
        None
    )


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(help="Measure the framework itself.")
    command(group, "round", flags=RoundFlags)(bench_round)
    command(group, "sessions", flags=SessionsFlags)(bench_sessions)
    command(group, "dispatch", flags=DispatchFlags)(bench_dispatch)
    bench_load.register(group)
    bench_network.register(group)
    command(group, "stragglers", flags=StragglerFlags)(bench_stragglers)
    command(group, "accuracy", flags=AccuracyFlags, needs=("torch",))(bench_accuracy)
    command(group, "auto", flags=AutoFlags, needs=("torch",))(bench_auto)
    command(group, "trainer", flags=TrainerFlags, needs=("torch",))(bench_trainer)
    command(group, "long-tail", flags=LongTailFlags, needs=("torch",))(bench_long_tail)
    command(group, "noisy", flags=NoisyFlags, needs=("torch",))(bench_noisy)
    command(group, "federated-rough", flags=FederatedRoughFlags, needs=("torch",))(bench_federated_rough)
    command(group, "live", flags=LiveFlags, needs=("torch",))(bench_live)
    command(group, "personal", flags=PersonalFlags, needs=("torch",))(bench_personal)
    command(group, "poisoning", flags=PoisoningFlags, needs=("torch",))(bench_poisoning)
    command(group, "adapters", flags=AdapterFlags, needs=("torch",))(bench_adapters)
    command(group, "clusters", flags=ClusterFlags, needs=("torch",))(bench_clusters)
    command(group, "fairness", flags=FairnessFlags, needs=("torch",))(bench_fairness)
    command(group, "contribution", flags=ContributionFlags, needs=("torch",))(bench_contribution)
    command(group, "classes", flags=ClassesFlags, needs=("torch",))(bench_classes)
    command(group, "continual", flags=ContinualFlags, needs=("torch",))(bench_continual)
    command(group, "peers", flags=PeersFlags, needs=("torch",))(bench_peers)
    command(group, "free-riders", flags=FreeRiderFlags, needs=("torch",))(bench_free_riders)
    command(group, "defence-speed", flags=DefenceSpeedFlags)(bench_defence_speed)
    group.callback()(_group)
    app.add_typer(group, name="bench")


def _group() -> None:
    """Measure the framework itself."""


def bench_round(context: Context, flags: RoundFlags) -> Answer:
    """Measure rounds in which nothing is trained.

    The real server and agents over mutual TLS, beside a bare gRPC stream of the same bytes.
    """
    from roughfed.deploy.bench.round import RoundBenchOptions, run_round_bench

    figures = run_round_bench(
        RoundBenchOptions(
            params=flags.params,
            clients=flags.clients,
            rounds=flags.rounds,
            server_sees=flags.server_sees,
            floor=not flags.no_floor,
        )
    )
    return told(context, figures)


def bench_sessions(context: Context, flags: SessionsFlags) -> Answer:
    """Hold many idle sessions on one server: its memory, and how long other calls take meanwhile."""
    from roughfed.deploy.bench.sessions import SessionsBenchOptions, run_sessions_bench

    return told(context, run_sessions_bench(SessionsBenchOptions(clients=flags.clients, seconds=flags.seconds)))


def bench_dispatch(context: Context, flags: DispatchFlags) -> Answer:
    """Open rounds for many sessions: how long it takes until each client has its job."""
    from roughfed.deploy.bench.sessions import DispatchBenchOptions, run_dispatch_bench

    return told(context, run_dispatch_bench(DispatchBenchOptions(clients=flags.clients, rounds=flags.rounds)))


def bench_stragglers(context: Context, flags: StragglerFlags) -> Answer:
    """Play the same rounds with clients that are alike, and with some that are many times slower.

    Real server and agents, each a process of its own; a training only waits. Takes a few minutes, most of them idle.
    """
    from roughfed.deploy.bench.stragglers import StragglerOptions, run_straggler_bench

    options = StragglerOptions(
        clients=flags.clients,
        slow=flags.slow,
        times=flags.times,
        pace_s=flags.pace,
        rounds=flags.rounds,
        server_sees=flags.server_sees,
    )
    return told(context, run_straggler_bench(options))


def bench_accuracy(context: Context, flags: AccuracyFlags) -> Answer:
    """Learn Fashion-MNIST with and without codec, attackers and defence, and compare the accuracies.

    The real codec, sketches, defence and training, in one process and without the masks, which change no bit of a sum.
    All conditions take about 20 minutes of one core.
    """
    from roughfed.deploy.bench.accuracy import AccuracyOptions, run_accuracy_bench
    from roughfed.deploy.bench.learning import LearningOptions

    options = AccuracyOptions(
        LearningOptions(clients=flags.clients, examples=flags.examples, alpha=flags.alpha),
        rounds=flags.rounds,
        seeds=tuple(range(flags.seeds)),
        attackers=flags.attackers,
        conditions=[name.strip() for name in flags.conditions.split(",") if name.strip()],
    )

    def say(name: str, figures: Mapping[str, object]) -> None:
        context.say(f"{name:<24} accuracy {shown(figures['accuracy'])}, from seed to seed {shown(figures['spread'])}")

    return Answer(run_accuracy_bench(options, say=say))


def bench_long_tail(context: Context, flags: LongTailFlags) -> Answer:
    """Train on Fashion-MNIST with a long tail by every method for it, and compare balanced, tail and worst accuracy.

    The trainer's own loop in one process: a client alone, and ten whose sums are plain. All take over an hour
    of one core.
    """
    from roughfed.deploy.bench.long_tail import LongTailOptions, run_long_tail_bench

    options = LongTailOptions(
        seeds=tuple(range(flags.seeds)),
        conditions=[name.strip() for name in flags.conditions.split(";") if name.strip()],
    )

    def say(name: str, figures: Mapping[str, object]) -> None:
        shares = "  ".join(f"{key} {shown(figures[key])}" for key in ("balanced", "tail", "worst", "spread"))
        context.say(f"{name:<42} {shares}")

    return Answer(run_long_tail_bench(options, say=say))


def bench_noisy(context: Context, flags: NoisyFlags) -> Answer:
    """Train on Fashion-MNIST with wrong labels by every method for them: accuracy, and wrong labels learnt by heart.

    The trainer's own loop in one process, one client alone. All take about half an hour of one core.
    """
    from roughfed.deploy.bench.noisy import KINDS, NoisyOptions, run_noisy_bench

    options = NoisyOptions(
        seeds=tuple(range(flags.seeds)),
        methods=[name.strip() for name in flags.methods.split(";") if name.strip()],
        kinds=[name.strip() for name in flags.kinds.split(",") if name.strip()] or KINDS,
    )

    def say(name: str, figures: Mapping[str, object]) -> None:
        shares = "  ".join(f"{key} {shown(figures[key])}" for key in ("accuracy", "memorised_wrong", "spread"))
        context.say(f"{name:<46} {shares}")

    return Answer(run_noisy_bench(options, say=say))


def bench_federated_rough(context: Context, flags: FederatedRoughFlags) -> Answer:
    """Learn a long tail, and with noisy clients, with and without what sums over the clients allow.

    The trainer's own loop, ten clients in one process, sums without masks. All take about an hour of one calm core.
    """
    from roughfed.deploy.bench.federated_rough import FederatedRoughOptions, run_federated_rough_bench

    options = FederatedRoughOptions(
        seeds=tuple(range(flags.seeds)),
        conditions=[name.strip() for name in flags.conditions.split(";") if name.strip()],
        rounds=flags.rounds,
    )

    def say(name: str, figures: Mapping[str, object]) -> None:
        shares = "  ".join(f"{key} {shown(value)}" for key, value in figures.items() if key != "by_seed")
        context.say(f"{name:<56} {shares}")

    return Answer(run_federated_rough_bench(options, say=say))


def bench_continual(context: Context, flags: ContinualFlags) -> Answer:
    """Learn five tasks of two classes, one after the other, and ask for all ten classes.

    Fashion-MNIST with every kind of method, and MNIST as in a published table (`make mnist`). All conditions take about
    20 minutes of one calm core.
    """
    from roughfed.deploy.bench.continual import ContinualOptions, run_continual_bench

    options = ContinualOptions(
        seeds=tuple(range(flags.seeds)),
        conditions=[name.strip() for name in flags.conditions.split(",") if name.strip()],
    )

    def say(name: str, figures: Mapping[str, object]) -> None:
        parts = (f"{word} {shown(figures[word])}" for word in ("accuracy", "std", "backward", "learnt"))
        context.say(f"{name:<24} {', '.join(parts)}")

    return Answer(run_continual_bench(options, say=say))


def bench_defence_speed(context: Context, flags: DefenceSpeedFlags) -> Answer:
    """Judge whole updates in files, and sketches, by every rule, and combine the updates: time and memory.

    The updates take 4 GB of disk, and a rule some seconds.
    """
    from roughfed.deploy.bench.defence_speed import DefenceSpeedOptions, run_defence_speed_bench

    rules = [name.strip() for name in flags.rules.split(",") if name.strip()]

    def say(name: str, figures: Mapping[str, float]) -> None:
        context.say(f"{name:<34} " + "  ".join(f"{key} {shown(value)}" for key, value in figures.items()))

    return Answer(
        run_defence_speed_bench(DefenceSpeedOptions(flags.clients, flags.params, rules, flags.folder), say=say)
    )


def bench_auto(context: Context, flags: AutoFlags) -> Answer:
    """Let clients with planted data choose their method: is it of the kind that fits?

    Imbalance 1, 20 and 100, no and 40 % wrong labels, 1 and 5 tasks, on Fashion-MNIST. About two minutes of one core.
    """
    from roughfed.deploy.bench.auto import AutoOptions, run_auto_bench

    options = AutoOptions(clients=flags.clients, model=flags.model, kind=flags.noise_kind, seed=flags.seed)

    def say(name: str, figures: Mapping[str, object]) -> None:
        context.say(f"{name:<34} {figures['right']} of {figures['clients']}, {shown(figures['cpu_seconds'])} s each")

    answer = run_auto_bench(options, say=say)
    context.say(f"{'right':<34} {shown(answer['right'])}")
    return Answer(answer)


def bench_trainer(context: Context, flags: TrainerFlags) -> Answer:
    """Time the training loop beside a bare PyTorch loop, and what each part adds to it."""
    from roughfed.deploy.bench.trainer_speed import SpeedOptions, run_speed_bench

    options = SpeedOptions(
        flags.model, flags.examples, flags.batch_size, flags.repeats, flags.device, parts=not flags.no_parts
    )
    return Answer(run_speed_bench(options, say=lambda name, value: context.say(f"{name:<34} {shown(value)}")))


def told(context: Context, figures: dict[str, object]) -> Answer:
    """Show the figures one a line, and answer with them."""
    for name, value in figures.items():
        context.say(f"{name:<34} {shown(value)}")
    return Answer(figures)


def shown(value: object) -> str:
    """A figure for people."""
    if isinstance(value, float):
        return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
