"""What the training loop costs beside a bare PyTorch loop, and what each part adds to it.

All train the same model on the same resident random images, one thread, in turns: a machine that is busy slows all of
them alike. CPU seconds, or wall time on a GPU. Figures are medians. N examples, C classes.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from roughfed import models
from roughfed.deploy.speed.measure import machine
from roughfed.methods import PARTS, PLAIN, read_method
from tests.bench.command import Benchmark

if TYPE_CHECKING:
    import torch
    from torch import nn

    from roughfed.client.trainer.examples.batches import Arrays
    from roughfed.client.trainer.settings import TrainerSettings

SHAPE, CLASSES, EXPERTS = (1, 28, 28), 10, 3
LR, MOMENTUM = 0.01, 0.9

Run = Callable[[], None]


@dataclass(frozen=True, slots=True)
class SpeedOptions:
    """What is trained, and how often."""

    model: Annotated[str, typer.Option(help="A listed model, for images of 1 x 28 x 28.")] = "cnn-small"
    examples: Annotated[int, typer.Option(min=64, help="Images in one training.")] = 1024
    batch_size: Annotated[int, typer.Option(min=2, help="Images in one step.")] = 32
    repeats: Annotated[int, typer.Option(min=1, help="Timed runs of each kind; a part has a third of them.")] = 9
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu"
    parts: Annotated[bool, typer.Option(help="Time each part of the table, too.")] = True


def run_speed_bench(options: SpeedOptions, *, say: Callable[[str, float], None]) -> dict[str, object]:
    """Time everything.

    Args:
        options: what to time.
        say: gets each name with its figure as soon as it is there.

    Returns:
        the options; `images_per_second` of the bare loop; `speed`: the bare loop's time by that of ours with all parts
        off; `data_loader`: the time of a loop over a DataLoader by that of ours; `parts`: time with a part by that
        without; the machine.
    """
    import torch

    torch.set_num_threads(1)
    times = _in_turns({"bare": _bare(options), "loader": _over_loader(options), PLAIN: _ours(PLAIN, options)}, options)
    bare, ours = statistics.median(times["bare"]), statistics.median(times[PLAIN])
    ratios = [one / other for one, other in zip(times["bare"], times[PLAIN], strict=True)]
    figures: dict[str, object] = {
        "images_per_second": options.examples / bare,
        "speed": statistics.median(ratios),
        "data_loader": statistics.median(times["loader"]) / ours,
    }
    for name, value in figures.items():
        say(name, float(str(value)))
    costs: dict[str, float] = {}
    for name in _timed_parts() if options.parts else ():
        costs[name] = _cost(name, options)
        say(name, costs[name])
    return {"bench": "trainer", **asdict(options), **figures, "parts": costs, "machine": machine()}


def _cost(name: str, options: SpeedOptions) -> float:
    """Time of a training with a part by that without, on the same model."""
    experts = "experts" in read_method(name).needs
    with_part, without = _ours(name, options), _ours(PLAIN, options, experts=experts)
    few = SpeedOptions(**{**asdict(options), "repeats": max(1, options.repeats // 3)})
    times = _in_turns({"with": with_part, "without": without}, few)
    return statistics.median(times["with"]) / statistics.median(times["without"])


def _timed_parts() -> Iterator[str]:
    """Every row but the losses that are there without being named."""
    return (name for name in PARTS if name not in ("cross-entropy", "mse"))


def _in_turns(runs: Mapping[str, Run], options: SpeedOptions) -> dict[str, list[float]]:
    """Seconds of each run; the first of each warms up and does not count."""
    clock = time.process_time if options.device == "cpu" else time.perf_counter
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(options.repeats + 1):
        for name, run in runs.items():
            begun = clock()
            run()
            times[name].append(clock() - begun)
    return {name: found[1:] for name, found in times.items()}


def _images(options: SpeedOptions) -> tuple[torch.Tensor, torch.Tensor]:
    """Random images that differ by class, and labels with a mild tail, on the device."""
    import torch

    generator = torch.Generator().manual_seed(0)
    y = (torch.rand(options.examples, generator=generator) ** 1.5 * CLASSES).long().clamp_max(CLASSES - 1)
    x = torch.randn(options.examples, *SHAPE, generator=generator) + 0.3 * y.view(-1, 1, 1, 1)
    return x.to(options.device), y.to(options.device)


def _model(options: SpeedOptions, *, experts: bool = False) -> nn.Module:
    return models.build(options.model, SHAPE, CLASSES, 0, experts=EXPERTS if experts else 1).to(options.device)


def _step(net: nn.Module, optimizer: torch.optim.Optimizer, x: torch.Tensor, y: torch.Tensor) -> None:
    from torch.nn import functional

    optimizer.zero_grad()
    functional.cross_entropy(net(x), y).backward()
    optimizer.step()


def _bare(options: SpeedOptions) -> Run:
    """The shortest loop that one would write: a permutation, a gather, a step."""
    import torch

    x, y = _images(options)
    net = _model(options).train()

    def run() -> None:
        optimizer = torch.optim.SGD(net.parameters(), lr=LR, momentum=MOMENTUM)
        for at in torch.randperm(len(y)).to(x.device).split(options.batch_size):
            _step(net, optimizer, x[at], y[at])
        _wait(options)

    return run


def _over_loader(options: SpeedOptions) -> Run:
    """The same over a DataLoader of host memory, in this process."""
    import torch
    from torch.utils.data import DataLoader, TensorDataset

    x, y = (tensor.cpu() for tensor in _images(options))
    net, loader = _model(options).train(), DataLoader(TensorDataset(x, y), options.batch_size, shuffle=True)

    def run() -> None:
        optimizer = torch.optim.SGD(net.parameters(), lr=LR, momentum=MOMENTUM)
        for some, labels in loader:
            _step(net, optimizer, some.to(options.device), labels.to(options.device))
        _wait(options)

    return run


def _ours(method: str, options: SpeedOptions, *, experts: bool = False) -> Run:
    """The trainer's loop with a method: one round of a later task, with what an earlier one has left behind."""
    import torch

    from roughfed.client.trainer.examples.batches import Arrays
    from roughfed.client.trainer.parts import Tensors
    from roughfed.client.trainer.settings import TrainerSettings

    device = torch.device(options.device)
    x, y = _images(options)
    source, clean = Arrays(x, y, device), Arrays(x[:64], y[:64], device)
    experts = experts or "experts" in read_method(method).needs
    net = _model(options, experts=experts)
    settings = TrainerSettings(method=method, lr=LR, momentum=MOMENTUM, batch_size=options.batch_size)
    remembered: dict[str, Tensors] = {}
    train = partial(_train, net, source, settings=settings, clean=clean, remembered=remembered)
    train(number=1)

    def run() -> None:
        train(number=2)
        _wait(options)

    return run


def _train(
    net: nn.Module,
    source: Arrays,
    *,
    settings: TrainerSettings,
    clean: Arrays,
    remembered: dict[str, dict[str, torch.Tensor]],
    number: int,
) -> None:
    import copy

    import torch

    from roughfed.client.trainer.examples.batches import TrainLoader
    from roughfed.client.trainer.parts import Context, Position
    from roughfed.client.trainer.training.loop import train

    size = settings.batch_size
    loader = TrainLoader(source, batch_size=size, seed=number, epochs=1, max_steps=0, report=lambda _share: None)
    context = Context(
        net,
        source,
        settings,
        CLASSES,
        torch.Generator().manual_seed(number),
        round=number,
        rounds=3,
        task=number - 1,
        remembered=remembered if number == 1 else copy.deepcopy(remembered),
        clean=clean,
        at=Position(steps=loader.planned),
    )
    train(context, loader)


def _wait(options: SpeedOptions) -> None:
    """A GPU works on by itself."""
    import torch

    if options.device != "cpu":
        torch.cuda.synchronize()


BENCH = Benchmark(SpeedOptions, run_speed_bench, lambda name, value: f"{name:<34} {value:.4g}")
