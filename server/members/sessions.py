"""One connected client: a live stream; whoever sends to a client puts a message into its queue."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from roughfed.messages import OTHER, PHASES, Heartbeat, Hello, Machine, ServerMessage
from roughfed.server.storage.proof import HeaderProof

MAX_WAITING = 64
"""Messages that may wait for one client: control only, a client that lets more pile up is gone."""


CUT_S = 0.5
"""A closed stream that its peer does not read to the end is cancelled after so long."""


@dataclass
class ClientSession:
    """One connected client.

    Attributes:
        name: from its certificate.
        identity_key: Ed25519 public key from its CA-signed roster entry.
        member: digest of that roster entry.
        hello: what it said first.
        phase: what it last said it was doing.
        progress: 0 to 1 within the phase.
        proof: the newest header that it has seen of this run (`roughfed.server.storage.proof`).
        machine: what it last said of its machine.
        clock_skew_s: how far its clock is ahead of ours, by its last heartbeat; what a message takes is in it.
    """

    name: str
    identity_key: bytes
    member: bytes
    hello: Hello
    phase: str = "idle"
    progress: float = 0.0
    machine: Machine | None = None
    clock_skew_s: float | None = None
    connected_at: float = field(default_factory=time.time)
    last_seen: float = field(default_factory=time.monotonic)
    task: asyncio.Task[Any] | None = None
    on_close: Callable[[ClientSession], None] = lambda _: None
    queue: asyncio.Queue[ServerMessage | None] = field(default_factory=lambda: asyncio.Queue(MAX_WAITING))
    close_reason: str = ""
    proof: HeaderProof | None = None

    def hear(self, beat: Heartbeat, *, samples: bool) -> None:
        """Note a heartbeat; `samples`: whether how much it trained on may be known here (never behind masks).

        A client has no word for what the server finds out itself: that its update is here, refused or left out.
        """
        self.phase, self.progress = beat.phase if beat.phase in PHASES else OTHER, beat.progress
        if (machine := beat.machine) is not None:
            self.machine = machine if samples else replace(machine, samples=None)
            self.clock_skew_s = None if machine.time is None else machine.time - time.time()

    def send(self, message: ServerMessage) -> None:
        """Push a message; a client whose queue is full is cut."""
        try:
            self.queue.put_nowait(message)
        except asyncio.QueueFull:
            self.close("slow")

    def close(self, reason: str) -> None:
        """End the stream after what is queued (a full queue loses its oldest message).

        It no longer counts as connected from now on. A peer that does not read would keep it open: it is cut then.
        """
        if not self.close_reason:
            self.close_reason = reason
            self.on_close(self)
            if self.task is not None:
                asyncio.get_running_loop().call_later(CUT_S, self.task.cancel)
        if self.queue.full():
            self.queue.get_nowait()
        self.queue.put_nowait(None)
