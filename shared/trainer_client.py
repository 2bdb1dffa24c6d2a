"""The trainer process seen from its parent: start it, ask it, survive its death.

The trainer imports torch and the user's code; whoever drives it (the agent, the worker beside the server) does not.
Requests and answers are JSON lines over a socket pair, tensors are files: see `roughfed.client.trainer`.

    parent -> child   {"id": 7, "op": "fit", "params": PATH, ...}      {"cancel": 7}
    child -> parent   {"id": 7, "ok": {...}}   {"id": 7, "error": {"reason", "message", "trace", "fatal"}}
                      {"id": 7, "progress": 0.25}

A handle lives as long as its process. After a death its owner starts another one
(`Restarting`).
"""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from roughfed.errors import TrainerError
from roughfed.extras import need
from roughfed.training import BaseFile, FitResult, Turn
from roughfed.types import Evaluation, Kind, Spec, Task, TensorSpec

LINE_BYTES = 16 << 20  # a Spec of 100,000 tensors fits; more is a fault
ABANDON_S = 10.0  # an abandoned call stops between two batches; a user's loop may hang, and is then killed
LAST_WORDS_S = 1.0
STOP_S = 3.0  # each step of stop(): end of file, SIGTERM, SIGKILL


@dataclass(frozen=True, slots=True)
class Description:
    """What the app in the trainer is.

    Attributes:
        spec: the model's flat vector.
        task: classification or regression.
        num_train: training examples; 0 when there are none (then `fit` is refused).
        num_test: held-out examples; 0 when there are none (then `evaluate` is refused).
        num_classes: C, the width of the model's output; 0 for regression.
        device: where it computes, for example `cuda:0`.
        name: the app's name, for people.
        settings: the app's own learning settings; they win only where client.toml says `trainer.local = true`.
        class_counts: classification: training examples of each class, C integers; empty where they are not known.
        statistics: names of the statistics that its training can work out (`FitResult.statistics`).
        adaptable: names of the weights that can have a low-rank adapter (`roughfed.adapters`).
    """

    spec: Spec
    task: Task
    num_train: int
    num_test: int
    num_classes: int
    device: str
    name: str
    settings: Mapping[str, object]
    class_counts: tuple[int, ...] = ()
    statistics: tuple[str, ...] = ()
    adaptable: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Many:
    """The virtual clients of a simulation, for whom one trainer works in turn: each request says for whom, as `client`.

    Attributes:
        clients: how many, numbered from 0.
        seed: of what an own app draws.
        first: be no trainer of theirs but the worker beside their server, with the first one's model and no data.
    """

    clients: int
    seed: int = 0
    first: bool = False


def trainer_command(
    *,
    app: str = "",
    builtin: Mapping[str, object] | None = None,
    device: str = "auto",
    threads: int = 1,
    many: Many | None = None,
) -> list[str]:
    """The command line of a trainer, for `Trainer.start`.

    Args:
        app: FILE:NAME of the user's `Client`, with `many` of a function that gives one; or else
        builtin: the settings of a built-in app (`roughfed.client.apps`).
        device: auto, cpu, cuda, cuda:N or mps.
        threads: CPU threads; 0 = the cores divided by the trainers of this host, counted anew before each request.
        many: the process works for many virtual clients; None = it is one client's.

    Raises:
        MissingExtra: this installation has no torch, or lacks the listed data's package.
    """
    listed = dict(cast("Mapping[str, object]", (builtin or {}).get("data") or {})).get("name")
    need("torch", *["sklearn"] * (listed == "digits"), who="the trainer process")
    crowd = [] if many is None else ["--crowd", str(many.clients), "--seed", str(many.seed), *["--first"] * many.first]
    given = ["--app", app] if builtin is None else ["--builtin", json.dumps(dict(builtin))]
    program = [sys.executable, "-u", "-P", "-m", "roughfed.client.trainer"]  # -P: not the agent's folder on the path
    return [*program, "--device", device, "--threads", str(threads), *crowd, *given]


class Asking(ABC):
    """What a trainer can be asked for; who carries the question there is left to `call`."""

    @abstractmethod
    async def call(self, op: str, **arguments: object) -> dict[str, Any]:
        """Ask for one thing; raises TrainerError."""

    async def describe(self) -> Description:
        """What the app is; builds the model and loads the data."""
        return _description(await self.call("describe"))

    async def initial(self, path: Path, *, seed: int) -> bytes:
        """Write the model's seeded initial weights as a model file; returns its digest, 32 bytes."""
        answer = await self.call("initial", path=str(path), seed=seed)
        return bytes.fromhex(answer["digest"])

    async def fit(
        self, params: Path, delta: Path, *, settings: Mapping[str, object], seed: int, turn: Turn
    ) -> FitResult:
        """Train from a model file and write local minus global parameters.

        Args:
            params: model file (`roughfed.params`).
            delta: where the bare flat vector goes, little-endian float32 [D].
            settings: the job's learning settings, checked strictly.
            seed: of shuffles and dropout; the same seed, threads and device give the same bytes.
            turn: where in the run this is.
        """
        files = {"params": str(params), "delta": str(delta)}
        return FitResult(**await self.call("fit", **files, settings=dict(settings), seed=seed, turn=turn.plain()))

    async def evaluate(
        self, params: Path, *, model_digest: bytes, turn: Turn | None = None, base: BaseFile | None = None
    ) -> Evaluation:
        """Sums over the held-out data.

        Args:
            params: model file.
            model_digest: names the parameters in the result.
            turn: where in the run a client stands: its private tensors are those of an earlier round. None where there
                is no client; then a file that lacks some is refused.
            base: without a turn, the frozen base that the model stands on.
        """
        place = {"turn": None if turn is None else turn.plain(), "stands_on": None if base is None else base.plain()}
        sums = await self.call("evaluate", params=str(params), **place)
        return evaluation_from(model_digest, sums)

    async def compare(
        self, params: Path, *, model_digest: bytes, settings: Mapping[str, object], turn: Turn
    ) -> dict[str, Evaluation]:
        """Sums over the held-out data of the other models that a client has or makes.

        Args:
            params: model file.
            model_digest: names the parameters in the results, and seeds what is drawn.
            settings: the job's learning settings.
            turn: where in the run the client stands.

        Returns:
            "personal" and "alone", where the settings make such models.
        """
        place = {"params": str(params), "seed": int.from_bytes(model_digest[:7], "big"), "turn": turn.plain()}
        found = await self.call("compare", settings=dict(settings), **place)
        return {name: evaluation_from(model_digest, sums) for name, sums in found.items()}

    async def train_loss(self, params: Path, *, turn: Turn) -> float:
        """The mean loss of a model file on the training data, whatever it was trained with: the task's plain one."""
        return float((await self.call("train-loss", params=str(params), turn=turn.plain()))["loss"])

    async def own(
        self, params: Path, out: Path, *, model_digest: bytes, settings: Mapping[str, object], turn: Turn
    ) -> dict[str, Any]:
        """Write the model that a client uses as a model file; see `compare`. Gives its digest and parameters."""
        place = {"params": str(params), "seed": int.from_bytes(model_digest[:7], "big"), "turn": turn.plain()}
        return await self.call("own", out=str(out), settings=dict(settings), **place)


class Trainer(Asking):
    """A running trainer process. Make one with `start`."""

    def __init__(
        self, process: asyncio.subprocess.Process, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Take over a process and the parent's end of its socket."""
        self.on_progress: Callable[[float], None] | None = None
        self._process, self._reader, self._writer = process, reader, writer
        self._turn = asyncio.Lock()
        self._last_id = self._answered = self._abandoned = 0
        self._pending: asyncio.Future[dict[str, Any]] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._dead = False
        self._following = asyncio.create_task(self._follow())

    @classmethod
    async def start(
        cls, argv: Sequence[str], *, env: Mapping[str, str] | None = None, log: Path | None = None
    ) -> Trainer:
        """Start a trainer. It answers once its imports are done; a broken app shows at the first call.

        Args:
            argv: see `trainer_command`; `--fd N` is added here.
            env: its environment; None inherits this process's.
            log: file that takes what user code prints (appended); None lets it print where this process prints.

        Raises:
            TrainerError: the program cannot be started.
        """
        ours, theirs = socket.socketpair()
        fd = theirs.fileno()
        try:
            with theirs:
                process = await _spawn([*argv, "--fd", str(fd)], fd=fd, env=env, log=log)
            reader, writer = await asyncio.open_unix_connection(sock=ours, limit=LINE_BYTES)
        except OSError as error:
            ours.close()
            raise TrainerError(f"cannot start the trainer: {error}", reason="refused") from error
        return cls(process, reader, writer)

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it can take another call."""
        return not self._dead and self._process.returncode is None

    async def call(self, op: str, **arguments: object) -> dict[str, Any]:
        """Ask for one thing; calls wait for one another.

        Cancelling the call asks the child to abandon it between two batches, and the handle stays usable: the next
        call starts when the child is ready. A child that has not let go after ABANDON_S is killed.

        Raises:
            TrainerError: with a reason: `killed` (the process died), `user-code` (an exception in the user's code, its
                trace in `detail`), `out-of-memory`, `cuda` (the process is finished too), `diverged` (the delta is not
                finite), `storage` (the disk), `refused` (a wrong setting or file).
        """
        async with self._turn:
            if not self.alive:
                raise self._death()
            self._last_id += 1
            self._pending = asyncio.get_running_loop().create_future()
            self._send({"id": self._last_id, "op": op, **arguments})
            try:
                return await self._pending
            except asyncio.CancelledError:
                self._abandon()
                raise
            finally:
                self._pending = None

    async def stop(self) -> None:
        """End the process: end of file first, then SIGTERM, then SIGKILL, each given STOP_S. Safe to call twice."""
        self._dead = True
        with suppress(OSError):  # it may be gone already
            self._writer.write_eof()
        for end in (self._process.terminate, self._process.kill):
            _, waiting = await asyncio.wait({self._following}, timeout=STOP_S)
            if not waiting:
                break
            with suppress(ProcessLookupError):
                end()
        await self._following

    async def _follow(self) -> None:
        """Read until the process ends; then whoever waits learns of it."""
        reading = asyncio.create_task(self._read())
        ended = asyncio.create_task(self._process.wait())
        await asyncio.wait({reading, ended}, return_when=asyncio.FIRST_COMPLETED)
        # Ended first: its last words may still be in the socket (or a grandchild holds the socket open, for ever).
        # Silent first: it closed the socket or talked nonsense, and is of no use any more.
        _, late = await asyncio.wait({reading, ended}, timeout=LAST_WORDS_S)
        if ended in late:
            self._kill()
            await ended
        reading.cancel()
        self._dead = True
        self._drop_timer()
        if self._pending is not None and not self._pending.done():
            self._pending.set_exception(self._death())
        self._writer.close()

    async def _read(self) -> None:
        """Take lines until the end of file, or until one that is too long, no JSON or no answer."""
        with suppress(ValueError, KeyError, ConnectionError):
            while line := await self._reader.readline():
                self._take(json.loads(line))

    def _take(self, message: dict[str, Any]) -> None:
        if "progress" in message:
            if self.on_progress is not None and message["id"] == self._last_id and self._pending is not None:
                self.on_progress(float(message["progress"]))
            return
        self._answered = int(message["id"])
        if self._answered >= self._abandoned:
            self._drop_timer()
        error: TrainerError | None = None
        if "error" in message:
            said = message["error"]
            error = TrainerError(said["message"], reason=said["reason"], detail=said["trace"])
            self._dead = self._dead or bool(said["fatal"])  # a broken CUDA context stays broken
        if self._answered != self._last_id or self._pending is None or self._pending.done():
            return  # the answer to an abandoned call
        if error is not None:
            self._pending.set_exception(error)
        else:
            self._pending.set_result(message["ok"])

    def _abandon(self) -> None:
        if self.alive and self._answered != self._last_id:
            self._send({"cancel": self._last_id})
            self._abandoned = self._last_id
            self._drop_timer()
            self._timer = asyncio.get_running_loop().call_later(ABANDON_S, self._kill)

    def _send(self, message: Mapping[str, object]) -> None:
        self._writer.write(json.dumps(message).encode() + b"\n")

    def _kill(self) -> None:
        with suppress(ProcessLookupError):
            self._process.kill()

    def _drop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _death(self) -> TrainerError:
        code = self._process.returncode
        if code is None:
            how = "is being stopped"
        else:
            how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
        return TrainerError(f"the trainer process ({self.pid}) {how}", reason="killed")


async def _spawn(
    argv: Sequence[str], *, fd: int, env: Mapping[str, str] | None, log: Path | None
) -> asyncio.subprocess.Process:
    output = None if log is None else await asyncio.to_thread(log.open, "ab")
    try:
        return await asyncio.create_subprocess_exec(
            *argv,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=None if output is None else subprocess.STDOUT,
            pass_fds=(fd,),
            env=env,
        )
    finally:
        if output is not None:
            output.close()


def evaluation_from(model_digest: bytes, sums: Mapping[str, Any]) -> Evaluation:
    """An evaluation of the sums that a trainer answered."""
    return Evaluation(
        model_digest=model_digest,
        num_examples=sums["num_examples"],
        loss_sum=sums["loss_sum"],
        class_count=tuple(sums["class_count"]),
        class_correct=tuple(sums["class_correct"]),
        absolute_error_sum=sums["absolute_error_sum"],
        confusion=tuple(sums["confusion"]),
        calibration=tuple(sums["calibration"]),
    )


def _description(answer: Mapping[str, Any]) -> Description:
    return Description(
        spec=spec_from_rows(answer["spec"]),
        task=cast(Literal["classification", "regression"], answer["task"]),
        num_train=answer["num_train"],
        num_test=answer["num_test"],
        num_classes=answer["num_classes"],
        device=answer["device"],
        name=answer["name"],
        settings=answer["settings"],
        class_counts=tuple(answer["class_counts"]),
        statistics=tuple(answer.get("statistics", ())),
        adaptable=tuple(answer.get("adaptable", ())),
    )


PUBLIC = ("spec", "task", "num_classes", "name", "statistics", "adaptable")
"""What of a description is of the model, and nothing of somebody's data."""


def model_description(answer: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a trainer's answer to "describe" that is the same wherever the model is (`PUBLIC`)."""
    return {key: answer[key] for key in PUBLIC if key in answer}


def description_from(model: Mapping[str, Any]) -> Description:
    """The description of a model without data and without a device, out of what `model_description` gave."""
    nothing: dict[str, Any] = {"num_train": 0, "num_test": 0, "device": "", "settings": {}, "class_counts": ()}
    return _description({**nothing, **model})


def spec_rows(spec: Spec) -> list[list[object]]:
    """A Spec as JSON rows: name, shape, dtype, kind."""
    return [[t.name, list(t.shape), t.dtype, t.kind] for t in spec.tensors]


def spec_from_rows(rows: Sequence[Sequence[Any]]) -> Spec:
    """The Spec that `spec_rows` wrote."""
    return Spec(tuple(TensorSpec(name, tuple(shape), dtype, cast(Kind, kind)) for name, shape, dtype, kind in rows))


class Restarting:
    """The present `Trainer` of a command: started when it is first needed, and again after it died.

    The agent's trainer and the worker beside the server are this; what a death means differs, and is theirs to say.
    """

    def __init__(
        self, command: Sequence[str], log_file: Path, *, on_progress: Callable[[float], None] | None = None
    ) -> None:
        """Start nothing yet.

        Args:
            command: as of `trainer_command`.
            log_file: takes what user code prints.
            on_progress: hears of a training's 0 to 1.
        """
        self._command, self._log_file, self._on_progress = command, log_file, on_progress
        self._trainer: Trainer | None = None
        self._starting = asyncio.Lock()

    async def ready(self) -> Trainer:
        """The running process.

        Raises:
            TrainerError: the program cannot be started.
        """
        async with self._starting:
            if self._trainer is None or not self._trainer.alive:
                self._trainer = await Trainer.start(self._command, log=self._log_file)
                self._trainer.on_progress = self._on_progress
            return self._trainer

    async def stop(self) -> None:
        """End the process; `ready` would start another one."""
        if self._trainer is not None:
            await self._trainer.stop()
            self._trainer = None
