"""`roughfed chaos` as a process: it says where it listens, passes connections on, and counts when it ends."""

import json
import re
import signal
import socket
import subprocess
import sys
import threading

import pytest

from roughfed.deploy.cli.chaos import address, size
from roughfed.errors import ConfigError
from tests.unit.documents import blocks, commands


def echo_once(listener: socket.socket) -> None:
    connection, _ = listener.accept()
    with connection:
        while data := connection.recv(65536):
            connection.sendall(data)


def test_the_command_of_the_page_passes_connections_on() -> None:
    page = [b for b in blocks("sh") if b.document.name == "operate.md"]
    (line,) = [c for b in page for c in commands(b) if c.startswith("roughfed chaos")]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        here = f"127.0.0.1:{listener.getsockname()[1]}"
        words = re.findall(r'"[^"]*"|\S+', line)[1:]
        words = [word.strip('"') for word in words]
        words[words.index("--to") + 1], words[words.index("--listen") + 1] = here, "127.0.0.1:0"
        answering = threading.Thread(target=echo_once, args=(listener,))
        answering.start()
        command = [sys.executable, "-m", "roughfed.deploy.cli", *words, "--seed", "1", "--json"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
            assert process.stdout is not None
            host, _, port = json.loads(process.stdout.readline())["listening"].rpartition(":")
            assert port != "0"
            with socket.create_connection((host, int(port)), timeout=10) as connection:
                connection.sendall(b"x" * 1000)
                got = b""
                while len(got) < 1000:
                    got += connection.recv(65536)
            answering.join(10)
            process.send_signal(signal.SIGINT)
            counts = json.loads(process.stdout.read().splitlines()[-1])
        assert process.returncode == 0
    assert (counts["connections"], counts["bytes"], counts["cut"]) == (1, [1000, 1000], 0)


@pytest.mark.parametrize("text", ["", "host", "host:", ":1", "host:70000", "host:x"])
def test_an_address_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="not HOST:PORT"):
        address("--to", text)


def test_sizes_are_read_as_in_settings() -> None:
    assert (size("--rate", ""), size("--rate", "1 MiB"), size("--rate", "500")) == (0, 1 << 20, 500)
    with pytest.raises(ConfigError, match="not a size"):
        size("--rate", "1 MB/s")
