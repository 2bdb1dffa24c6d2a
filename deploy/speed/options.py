"""What the speed tests are asked for. Each field is a flag of its command, too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer

from roughfed.errors import ConfigError


def names(text: str | Sequence[str]) -> Sequence[str]:
    """What stands between commas."""
    return tuple(name.strip() for name in text.split(",") if name.strip()) if isinstance(text, str) else text


@dataclass(frozen=True, slots=True)
class RoundBenchOptions:
    """`roughfed bench round`."""

    params: Annotated[int, typer.Option(min=1, help="Parameters of the model.")] = 100_000
    clients: Annotated[int, typer.Option(min=1, help="Clients, each a process without torch.")] = 4
    rounds: Annotated[int, typer.Option(min=2, help="Rounds; the first one warms up and does not count.")] = 4
    server_sees: Annotated[str, typer.Option(help="What reaches the server of a single client.")] = "updates"
    floor: Annotated[bool, typer.Option(help="Compare with a bare gRPC stream of the same bytes, or --no-floor.")] = (
        True
    )
    folder: Annotated[Path | None, typer.Option(help="Folder for the files. [default: a temporary one]")] = None
    timeout_s: Annotated[float, typer.Option("--timeout", min=1, help="Seconds that the rounds may take.")] = 600.0

    def check(self) -> None:
        """Refuse what cannot be measured.

        Raises:
            ConfigError: names the flag.
        """
        for key, value, least in (
            ("params", self.params, 1),
            ("clients", self.clients, 1),
            ("rounds", self.rounds, 2),
        ):
            if value < least:
                raise ConfigError(f"{value} is too few", key=f"--{key}", cure=f"give {least} or more")


@dataclass(frozen=True, slots=True)
class UploadsBenchOptions:
    """`roughfed bench uploads`."""

    clients: Annotated[int, typer.Option(min=1, help="Clients that upload at the same time.")] = 200
    few: Annotated[int, typer.Option(min=1, help="Clients of the runs before, to compare the memory with.")] = 10
    params: Annotated[int, typer.Option(min=1, help="Parameters of the model; 4 bytes of an update each.")] = 1_000_000
    repeats: Annotated[int, typer.Option(min=1, help="Runs of each kind; the least memory is compared.")] = 1
    masked: Annotated[
        bool, typer.Option("--masked", help="In a masked round, to its end: whole agents, a quarter of the bytes.")
    ] = False

    def check(self, *, least: int) -> None:
        """Refuse what gives nothing to compare.

        Args:
            least: clients that a round of the mode needs.

        Raises:
            ConfigError: names the flag.
        """
        if min(self.params, self.repeats) < 1 or self.few < least:
            raise ConfigError("there is nothing to measure", key="--few", cure=f"{least} or more, and 1 of the rest")
        if self.clients < self.few:
            cause = f"{self.clients} clients are fewer than the few that they are compared with, {self.few}"
            raise ConfigError(cause, key="--clients", cure=f"{self.few} or more, or a smaller --few")


@dataclass(frozen=True, slots=True)
class BenchWork:
    """The same for all systems: so many clients answer with so many float32 parameters, so many times."""

    clients: Annotated[int, typer.Option(min=4, help="Clients, each a process of its own.")] = 4
    params: Annotated[int, typer.Option(min=1, help="Parameters of the model, float32.")] = 100_000
    rounds: Annotated[int, typer.Option(min=2, help="Rounds; the first one warms up and does not count.")] = 3
    timeout_s: Annotated[float, typer.Option("--timeout", min=10, help="Seconds that one system's run may take.")] = (
        1800.0
    )


@dataclass(frozen=True, slots=True)
class PeersOptions:
    """`roughfed bench peers`."""

    work: BenchWork = field(default_factory=BenchWork)
    flower: Annotated[
        str, typer.Option(envvar="ROUGHFED_FLOWER_PYTHON", help="Python of an environment with flwr.")
    ] = ""
    nvflare: Annotated[
        str, typer.Option(envvar="ROUGHFED_NVFLARE_PYTHON", help="Python of an environment with nvflare.")
    ] = ""
    systems: Annotated[
        Sequence[str],
        typer.Option(
            parser=names,
            metavar="NAMES",
            show_default=False,
            help="flower, flower-secagg, nvflare, with commas between them. [default: all]",
        ),
    ] = ()
