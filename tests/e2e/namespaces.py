"""Machines of one's own: network namespaces, each with one link to a bridge that lies in another one.

    with network("server", "h0", "h1") as net:
        net.address("server")  # 198.51.100.1: a range for documentation, and no route leads out of it
        net.cut("h0")          # as if somebody pulled the plug: nobody is told
        net.mend("h0")

Nothing outside is touched: the bridge, the links and the addresses are inside the namespaces and go with them.
"""

from __future__ import annotations

import ctypes
import functools
import inspect
import json
import os
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from http.client import HTTPConnection
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from roughfed.deploy.aggregator import known_ports

from .attacks import HostileCluster
from .federation import Cluster
from .walk import Shell

NUMBERS = count()
SWITCH = "switch"
OURS = re.compile(r"rf(\d+)-\d+-[a-z0-9-]+")

CLONE_NEWNET = 0x40000000


def enter(space: str) -> None:
    """Bring the thread that calls this (no other one of its process) into a namespace."""
    libc = ctypes.CDLL(None, use_errno=True)
    fd = os.open(f"/run/netns/{space}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        assert libc.setns(fd, CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
    finally:
        os.close(fd)


ENTER = f"""
import ctypes, os, runpy, sys
{CLONE_NEWNET = }
{inspect.getsource(enter)}
enter(sys.argv[1])
module, sys.argv[1:3] = sys.argv[2], []
runpy.run_module(module, run_name="__main__", alter_sys=True)
"""
"""Enters a namespace and is `python -m MODULE` there: so it can be forked like the others (`forked.py`)."""


class Network:
    """A bridge and its machines, by name."""

    def __init__(self, names: Sequence[str]) -> None:
        """Nothing is made yet."""
        self.names = list(names)
        self._prefix = f"rf{os.getpid()}-{next(NUMBERS)}"

    def make(self) -> None:
        """The namespaces, their links and addresses."""
        switch = self.space(SWITCH)
        ip("netns", "add", switch)
        ip("-n", switch, "link", "add", "br0", "type", "bridge", "forward_delay", "0")
        ip("-n", switch, "link", "set", "br0", "up")
        for name in self.names:
            self._connect(name)

    def _connect(self, name: str) -> None:
        """One machine. It knows the others' hardware addresses: ARP would tell it that a link is cut."""
        space, port = self.space(name), self._port(name)
        ip("netns", "add", space)
        end = ["name", "eth0", "address", self._hardware(name), "netns", space]
        ip("-n", self.space(SWITCH), "link", "add", port, "type", "veth", "peer", *end)
        ip("-n", self.space(SWITCH), "link", "set", port, "master", "br0", "up")
        ip("-n", space, "address", "add", f"{self.address(name)}/24", "dev", "eth0")
        for link in ("lo", "eth0"):
            ip("-n", space, "link", "set", link, "up")
        for other in self.names:
            known = [self.address(other), "lladdr", self._hardware(other), "dev", "eth0", "nud", "permanent"]
            ip("-n", space, "neigh", "add", *known)

    def _port(self, name: str) -> str:
        return f"p{self.names.index(name)}"

    def _hardware(self, name: str) -> str:
        return f"02:00:00:00:00:{1 + self.names.index(name):02x}"

    def remove(self) -> None:
        """Everything that `make` made; who still runs in it is killed."""
        for name in (*self.names, SWITCH):
            remove(self.space(name))

    def space(self, name: str) -> str:
        """The namespace of a machine."""
        return f"{self._prefix}-{name}"

    def address(self, name: str) -> str:
        """Its address."""
        return f"198.51.100.{1 + self.names.index(name)}"

    def cut(self, name: str) -> None:
        """Take its port of the bridge down: nothing passes from now on, and neither end hears of it."""
        self._set(name, "down")

    def mend(self, name: str) -> None:
        """Put the plug back."""
        self._set(name, "up")

    def slow(self, name: str, rate: str) -> None:
        """Let its uplink carry no more than that, such as "1mbit"; what comes down is as fast as ever."""
        limit = ["root", "tbf", "rate", rate, "burst", "32kbit", "latency", "400ms"]
        run(*self.inside(name), "tc", "qdisc", "add", "dev", "eth0", *limit)

    def page(self, name: str, port: int, path: str) -> str:
        """A page that a machine serves on its loopback."""
        with ThreadPoolExecutor(1, initializer=enter, initargs=(self.space(name),)) as inside:
            link = inside.submit(socket.create_connection, ("127.0.0.1", port)).result()
        client = HTTPConnection("127.0.0.1", port)
        client.sock = link
        with closing(client):
            client.request("GET", path)
            return client.getresponse().read().decode()

    def _set(self, name: str, state: str) -> None:
        ip("-n", self.space(SWITCH), "link", "set", self._port(name), state)

    def python(self, name: str, args: Sequence[str]) -> list[str]:
        """`python -m MODULE ...` on this machine."""
        python, minus_m, *rest = args
        assert minus_m == "-m", args
        return [python, "-c", ENTER, self.space(name), *rest]

    def inside(self, name: str) -> list[str]:
        """What stands before a command that is to run on this machine."""
        return ["ip", "netns", "exec", self.space(name)]


class Far(Cluster):
    """A federation whose server and clients are machines of a network."""

    def __init__(self, folder: Path, net: Network, *args: Any, **options: Any) -> None:
        settings = {"server": {"host": "0.0.0.0"}} | options.pop("settings", {})
        super().__init__(folder, *args, settings=settings, **options)
        self.net, self.host = net, net.address("server")

    def placed(self, name: str, args: Sequence[str]) -> Sequence[str]:
        return self.net.python(name, args)

    def page(self, path: str, *, port: int | None = None) -> str:
        return self.net.page("server", port or known_ports(self.place.folder).http, path)


class FarCluster(Far, HostileCluster):
    """One of clients of which some may be hostile."""


class FarShell(Shell):
    """A shell of one machine, in a folder of it."""

    def __init__(self, folder: Path, net: Network, machine: str) -> None:
        """Make the folder."""
        folder.mkdir()
        super().__init__(folder)
        self._inside = net.inside(machine)

    def _words(self, line: str) -> tuple[list[str], dict[str, str]]:
        argv, env = super()._words(line)
        return [*self._inside, *argv], env


@contextmanager
def network(*names: str) -> Iterator[Network]:
    """A network of these machines, gone afterwards."""
    if missing := needed():
        pytest.skip(missing)
    sweep()
    net = Network(names)
    try:
        net.make()
        yield net
    finally:
        net.remove()


@functools.cache
def needed() -> str:
    """What this machine lacks; empty where it has all."""
    if shutil.which("ip") is None:
        return "needs ip (Debian: iproute2)"
    probe = f"rf{os.getpid()}-0-probe"
    made = subprocess.run(["ip", "netns", "add", probe], capture_output=True, text=True, check=False)
    remove(probe)
    return f"needs root and network namespaces: {made.stderr.strip()}" if made.returncode else ""


def sweep() -> None:
    """Remove what a test run left that was killed."""
    for space in json.loads(ip("-j", "netns", "list") or "[]"):
        found = OURS.fullmatch(space["name"])
        if found and not Path(f"/proc/{found[1]}").exists():
            remove(space["name"])


def remove(space: str) -> None:
    """A namespace, and with it its links; who still runs in it is killed."""
    pids = subprocess.run(["ip", "netns", "pids", space], capture_output=True, text=True, check=False).stdout.split()
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)
    subprocess.run(["ip", "netns", "del", space], capture_output=True, check=False)


def ip(*args: str) -> str:
    return run("ip", *args)


def run(*args: str) -> str:
    done = subprocess.run(args, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (args, done.stderr)
    return done.stdout
