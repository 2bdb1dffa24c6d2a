"""A real Prometheus on loopback, with the configuration and the rules that are shipped."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest
import yaml

from .process import PATIENCE_S, Process

SHIPPED = Path(__file__).parents[2] / "deploy" / "prometheus"
EVERY = "500ms"
"""In place of the shipped intervals: a test does not wait for quarters of a minute."""
TOKEN = "/run/secrets/http_token"  # where the shipped configuration has the token

T = TypeVar("T")
Sample = dict[str, Any]


def free_port() -> int:
    """A port that nobody listens at now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Scraper:
    """Prometheus with `prometheus.yml`, reading a server here instead of `server:9464`."""

    def __init__(self, folder: Path, *, server: int, token: Path, clients: Sequence[int]) -> None:
        """Start it; what the ports listen at may come later.

        Args:
            folder: of its own.
            server: port of the server's pages, which ask for the token.
            token: file with it.
            clients: ports of clients' own pages.
        """
        program = shutil.which("prometheus")
        if program is None:
            pytest.skip("needs prometheus")
        (folder / "clients").mkdir(parents=True)
        (folder / "clients" / "here.yml").write_text(yaml.safe_dump([{"targets": [at(port) for port in clients]}]))
        shutil.copy(SHIPPED / "roughfed.rules.yaml", folder)
        text = (SHIPPED / "prometheus.yml").read_text().replace(TOKEN, str(token)).replace("server:9464", at(server))
        config = yaml.safe_load(text)
        config["global"] |= {"scrape_interval": EVERY, "evaluation_interval": EVERY}
        del config["alerting"]  # nobody is told of a test
        config["scrape_configs"].append(
            {"job_name": "without-token", "static_configs": [{"targets": [at(server)]}]},
        )
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        flags = [f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
        flags += ["--web.listen-address=127.0.0.1:0", "--log.level=info"]
        self.process = Process("prometheus", [program, *flags], {**os.environ, "GOMAXPROCS": "1"})

    def __enter__(self) -> Scraper:
        line = self.process.wait_line('msg="Listening on"')
        (self._port,) = re.findall(r"address=127\.0\.0\.1:(\d+)", line)
        self.process.wait_line("Server is ready to receive web requests")
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.process.close()
        if kind is not None:
            print(self.process.report("(its end)"))

    def ask(self, path: str, **parameters: str) -> Any:
        """`data` of an answer of its HTTP API."""
        with urlopen(f"http://127.0.0.1:{self._port}/api/v1/{path}?{urlencode(parameters)}", timeout=10) as answer:
            return json.load(answer)["data"]

    def query(self, expression: str) -> list[Sample]:
        """The series that an expression gives now: each with "metric" and "value", [Unix seconds, text]."""
        return self.ask("query", query=expression)["result"]

    def up(self) -> Mapping[str, float]:
        """Job -> whether its one target could be read."""
        return {each["metric"]["job"]: float(each["value"][1]) for each in self.query("up")}

    def alerts(self) -> dict[str, str]:
        """Alerts that are pending or fire, without their prefix, and which of both."""
        found = self.ask("alerts")["alerts"]
        return {each["labels"]["alertname"].removeprefix("Roughfed"): each["state"] for each in found}

    def until_nothing(self, left: Callable[[], T], *, timeout_s: float = PATIENCE_S) -> T:
        """What `left` still finds: nothing, as soon as that is so, or what it found when the time was up.

        Prometheus tells nobody of what it has read, so it is asked again and again.
        """
        deadline, between = time.monotonic() + timeout_s, threading.Event()
        while (found := left()) and time.monotonic() < deadline:
            between.wait(0.2)
        return found


def at(port: int) -> str:
    return f"127.0.0.1:{port}"
