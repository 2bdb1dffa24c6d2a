"""The demo's folder: a server directory, one directory for each client, logs and the report."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from roughfed.config import ClientConfig, FederationConfig
from roughfed.deploy import aggregator
from roughfed.errors import ConfigError, StorageError
from roughfed.server.members.authority import Authority

PREFIX = "roughfed-demo-"


@dataclass(frozen=True, slots=True)
class DemoPlace:
    """Where the demo's files are."""

    folder: Path

    @property
    def server(self) -> Path:
        """The server's directory, as of `roughfed server --dir`."""
        return self.folder / "server"

    def act(self, name: str) -> DemoPlace:
        """The folder of another federation of the same demo."""
        return DemoPlace(self.folder / name)

    def client(self, name: str) -> Path:
        """A client's directory, as of `roughfed join --dir`."""
        return self.folder / name

    def log(self, name: str) -> Path:
        """What a process prints."""
        return self.folder / "logs" / f"{name}.log"

    @property
    def report(self) -> Path:
        """The page of the run."""
        return self.folder / "report.html"

    @property
    def summary(self) -> Path:
        """The same as JSON."""
        return self.folder / "report.json"


def make_place(out: Path | None) -> DemoPlace:
    """An empty folder: `out`, or a new one among the temporary files.

    Raises:
        ConfigError: `out` holds something already, or is a file.
        StorageError: it cannot be made.
    """
    try:
        if out is None:
            return DemoPlace(Path(tempfile.mkdtemp(prefix=PREFIX)))
        folder = out.expanduser().resolve()
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if any(folder.iterdir()):
            cause = "the folder is not empty, and a demo starts afresh"
            raise ConfigError(cause, file=str(folder), key="--out", cure="name a new folder, or remove this one")
        return DemoPlace(folder)
    except FileExistsError:
        raise ConfigError("this is a file", file=str(out), key="--out", cure="name a folder") from None
    except OSError as error:
        raise StorageError(f"cannot make the demo's folder: {error}") from error


def furnish(place: DemoPlace, fed: str, clients: Mapping[str, str]) -> None:
    """Write the settings files and make the throw-away CA: what `roughfed init` does, for everybody at once."""
    (place.folder / "logs").mkdir(parents=True)
    place.server.mkdir(mode=0o700)
    (place.server / FederationConfig.FILE).write_text(fed, encoding="utf-8")
    Authority.create(aggregator.ServerFiles(place.server).ca, "demo", now=datetime.now(UTC))
    for name, text in clients.items():
        place.client(name).mkdir(mode=0o700)
        (place.client(name) / ClientConfig.FILE).write_text(text, encoding="utf-8")
