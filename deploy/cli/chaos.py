"""`roughfed chaos`: a bad network between a client and its server."""

from __future__ import annotations

import asyncio
import signal
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from roughfed.deploy.cli.command import Answer, CommandContext, command
from roughfed.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from roughfed.deploy.chaos.faults import Faults
    from roughfed.deploy.chaos.proxy import Counts


@dataclass(frozen=True, slots=True)
class ChaosFlags:
    """Where the line begins and ends, and how bad it is."""

    to: Annotated[str, typer.Option(metavar="HOST:PORT", help="Where the line leads: a server's federation port.")]
    listen: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Where clients connect instead; port 0 = any free one.")
    ] = "127.0.0.1:0"
    latency: Annotated[str, typer.Option(help="That every byte takes one way, such as 100ms.")] = ""
    jitter: Annotated[str, typer.Option(help="Up to so much more, uniform; bytes stay in order.")] = ""
    rate: Annotated[
        str, typer.Option(metavar="SIZE", help='Of the whole line in a second and each way, such as "1 MiB".')
    ] = ""
    cut_after: Annotated[str, typer.Option(metavar="SIZE", help="Cut every connection after so many bytes.")] = ""
    cut: Annotated[float, typer.Option(min=0, max=1, help="Share of connections that are cut somewhere.")] = 0.0
    half_open: Annotated[
        float, typer.Option(min=0, max=1, help="Share that go silent somewhere instead: open, and nothing passes.")
    ] = 0.0
    within: Annotated[str, typer.Option(metavar="SIZE", help="First bytes of a connection in which that happens.")] = (
        "1 MiB"
    )
    corrupt: Annotated[
        str, typer.Option(metavar="SIZE", help="Flip a bit about every so many bytes (TLS ends such a connection).")
    ] = ""
    refuse: Annotated[float, typer.Option(min=0, max=1, help="Share of connections that are refused.")] = 0.0
    dark_every: Annotated[str, typer.Option(help="Let nothing pass for a while, again and again after so long.")] = ""
    dark_for: Annotated[str, typer.Option(help="How long that while is.")] = "5s"
    seed: Annotated[int, typer.Option(min=0, help="Of every decision.")] = 0
    seconds: Annotated[float, typer.Option(min=0, help="End by itself after so long; 0 = with Ctrl-C.")] = 0.0

    def faults(self) -> Faults:
        """How bad the line is."""
        from roughfed.deploy.chaos.faults import Faults

        return Faults(
            latency_s=duration("--latency", self.latency),
            jitter_s=duration("--jitter", self.jitter),
            bytes_per_s=size("--rate", self.rate),
            cut_after=size("--cut-after", self.cut_after),
            cut_share=self.cut,
            cut_within=size("--within", self.within),
            half_open_share=self.half_open,
            corrupt_every=size("--corrupt", self.corrupt),
            refuse_share=self.refuse,
        )


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "chaos", flags=ChaosFlags)(chaos)


def chaos(context: CommandContext, flags: ChaosFlags) -> Answer:
    """Pass connections on over a line that is slow, or breaks.

    Clients connect here instead of to the server (client.server in client.toml), and see what a bad network makes of
    their rounds. Every decision follows from --seed, the number of the connection and the offset in it.
    """
    faults, target, here = flags.faults(), address("--to", flags.to), address("--listen", flags.listen)
    dark = (duration("--dark-every", flags.dark_every), duration("--dark-for", flags.dark_for))

    def listening(port: int) -> None:
        context.say(f"listening on {here[0]}:{port}, leading to {flags.to}; Ctrl-C ends it")
        context.event({"listening": f"{here[0]}:{port}", "to": flags.to})

    def happened(event: str, connection: int) -> None:
        context.event({"event": event, "connection": connection})
        if event not in ("opened", "closed"):
            context.note(f"connection {connection}: {event}", style="yellow")

    counts = asyncio.run(_run(flags, faults, (target, here), dark, (listening, happened)))
    context.say(
        f"{counts.connections} connections: {counts.cut} cut, {counts.half_open} left half open, "
        f"{counts.refused} refused, {counts.unreachable} not reached; {counts.bytes[0]:,} bytes there, "
        f"{counts.bytes[1]:,} back, {counts.flipped_bits} bits flipped"
    )
    return Answer(asdict(counts))


async def _run(
    flags: ChaosFlags,
    faults: Faults,
    ways: tuple[tuple[str, int], tuple[str, int]],
    dark: tuple[float, float],
    tell: tuple[Callable[[int], None], Callable[[str, int], None]],
) -> Counts:
    from roughfed.deploy.chaos.proxy import Proxy

    proxy = Proxy(ways[0], faults, seed=flags.seed, on_event=tell[1])
    tell[0](await proxy.start(*ways[1]))
    ended, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    darkening = asyncio.create_task(_darken(proxy.blackhole, *dark))
    with suppress(TimeoutError):
        await asyncio.wait_for(ended.wait(), flags.seconds or None)
    darkening.cancel()
    await proxy.stop()
    return proxy.counts


async def _darken(blackhole: Callable[[bool], None], every_s: float, for_s: float) -> None:
    while every_s:
        await asyncio.sleep(every_s)
        blackhole(True)
        await asyncio.sleep(for_s)
        blackhole(False)


def address(key: str, text: str) -> tuple[str, int]:
    """HOST:PORT as two.

    Raises:
        ConfigError: it is neither.
    """
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise ConfigError(f"{text!r} is not HOST:PORT", key=key, cure="for example 127.0.0.1:8443")
    return host.strip("[]"), int(port)


def duration(key: str, text: str) -> float:
    """Seconds of a duration; 0 of an empty text.

    Raises:
        ConfigError: it is none.
    """
    from pydantic_core import PydanticCustomError

    from roughfed.config.values import seconds

    try:
        return seconds(text)
    except PydanticCustomError as error:
        raise ConfigError(f"{text!r} is not a duration", key=key, cure='"200ms", "5s", "1m" or seconds') from error


def size(key: str, text: str) -> int:
    """Bytes of a size; 0 of an empty text.

    Raises:
        ConfigError: it is none.
    """
    from pydantic_core import PydanticCustomError

    from roughfed.config.values import size_bytes

    if not text:
        return 0
    try:
        return size_bytes(int(text) if text.isdecimal() else text)
    except PydanticCustomError as error:
        raise ConfigError(f"{text!r} is not a size", key=key, cure='"64 KiB", "1 MiB" or bytes') from error
