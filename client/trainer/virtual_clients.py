"""Many virtual clients in one trainer process, in turn: each request says for whom it is.

Nothing of a client outlives its request in memory but what costs time to make again (its data, its model): what a
method remembers between rounds is in files, as everywhere, so a client may be dropped at any time and made anew. That
of an own app is made anew for every request: what its objects remember (a generator, a counter) would otherwise depend
on which process trained for it last, and how long ago.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from roughfed.client.api import Client
from roughfed.client.apps import DIVISION_KEYS, SOURCE_KEYS, builtin
from roughfed.client.trainer.load import Maker, load_maker
from roughfed.client.trainer.operations import Answer, Operations
from roughfed.data.federate import Division, divide
from roughfed.errors import ConfigError

KEPT = 8
"""Clients of listed data whose data and model stay in memory, the last ones asked for."""


class Crowd:
    """The clients of one process."""

    def __init__(
        self,
        *,
        clients: int,
        app: str | None,
        builtin: Mapping[str, Any] | None,
        device: str,
        report: Callable[[float], None],
        seed: int = 0,
    ) -> None:
        """Load nothing yet.

        Args:
            clients: how many there are.
            app: FILE:NAME of a function (index, clients) that gives the Client of one; or else
            builtin: settings of the built-in app, without `data.index`.
            device: see `device.choose`.
            report: gets the share done of the current request.
            seed: of what an own app draws (`load.load_maker`); the built-in one has its own.
        """
        self._clients, self._app, self._builtin, self._seed = clients, app, builtin, seed
        self._device, self._report = device, report
        self._known: OrderedDict[int, Operations] = OrderedDict()

    def run(self, op: str, arguments: Mapping[str, Any]) -> Answer:
        """Do one thing for the client that `arguments` name.

        Raises:
            ConfigError: they name none.
        """
        index = arguments.get("client")
        if not isinstance(index, int) or not 0 <= index < self._clients:
            raise ConfigError(f"client {index!r} of {self._clients} does not exist", key="client")
        return self._operations(index).run(op, arguments)

    def _operations(self, index: int) -> Operations:
        if (known := self._known.pop(index, None)) is None:
            known = Operations(client=lambda: self._client(index), device=self._device, report=self._report)
        if self._builtin is None:
            return known
        self._known[index] = known
        while len(self._known) > KEPT:
            self._known.popitem(last=False)
        return known

    def _client(self, index: int) -> Client:
        if self._builtin is None:
            return self._maker(index, self._clients)
        data = {**self._builtin["data"], "index": index, "clients": self._clients}
        return builtin({**self._builtin, "data": data}, division=self._division)

    @cached_property
    def _division(self) -> Division:
        """The data of all of them, divided once."""
        given = dict((self._builtin or {})["data"])
        options = {key: given[key] for key in DIVISION_KEYS - {"clients"} if key in given}
        source = {key: given[key] for key in SOURCE_KEYS if key in given}
        folder = source.pop("data_dir", None)
        name, seed = source["name"], source["seed"]
        return divide(name, clients=self._clients, seed=seed, data_dir=Path(folder) if folder else None, **options)

    @cached_property
    def _maker(self) -> Maker:
        return load_maker(self._app or "", seed=self._seed)
