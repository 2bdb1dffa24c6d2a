"""fed.toml and client.toml as anybody may have written them: read and checked as a whole, or refused with a cause."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path

from roughfed.config.client import ClientConfig
from roughfed.config.conflicts import check_client, check_federation
from roughfed.config.federation import FederationConfig
from roughfed.config.load import load_client, load_federation
from roughfed.config.template import render_template
from roughfed.errors import ConfigError

RUNS = 150  # milliseconds each

LINES = (
    '[privacy]\nserver_sees = "updates"\n[codec]\nname = "int8"\n',
    '[round]\nrounds = 3\nmin_clients = 5\nquorum = 0.5\ndeadline = "90s"\n[defence]\nrule = "krum"\nattackers = 1\n',
    '[contribution]\nmethod = "loo"\n[fairness]\nrule = "q-fedavg"\nq = 0.5\n[tiers.thin]\nkeep = 0.25\n',
    "[server]\nport = 9443\nhttp_port = 1_000\n[data]\nx = 1979-05-27T07:32:00Z\ny = [1.0, nan, inf, -0.0]\n",
)
CLIENT_LINES = (
    '[client]\nserver = "10.0.0.1:9443"\nname = "alpha"\n[policy]\nserver_sees = ["sums"]\n',
    '[participate]\nwindows = ["mon-fri 22:00-06:00"]\nzone = "Europe/Berlin"\n[limits]\nmemory = "2 GiB"\n',
    '[data]\nsource = "csv"\npath = "~/x.csv"\n[trainer]\nmethod = "plain"\nlr = 1e-3\n[device]\nkind = "cpu"\n',
)


@cache
def folder() -> Path:
    made = Path(tempfile.mkdtemp(prefix="roughfed-fuzz-"))
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return made


def fuzz(data: bytes) -> None:
    if not data:
        return
    of_server = data[0] % 2 == 0
    kind = FederationConfig if of_server else ClientConfig
    (folder() / kind.FILE).write_bytes(data[1:])
    try:
        if of_server:
            check_federation(load_federation(folder(), {}))
        else:
            check_client(load_client(folder(), {}))
    except ConfigError:
        pass


def seeds() -> list[bytes]:
    texts = [(0, render_template(FederationConfig)), (1, render_template(ClientConfig))]
    texts += [(0, text) for text in LINES] + [(1, text) for text in CLIENT_LINES]
    return [bytes([number]) + text.encode() for number, text in texts]
