"""What a server's directory says about its run: the journal and fed.toml as `roughfed.report.summary`.

Nothing is written. It works while the server runs (SQLite in WAL mode), after it ended, and on a copy.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from roughfed.deploy import aggregator
from roughfed.errors import ConfigError
from roughfed.report.summary import RunSummary
from roughfed.server.observe import run_summary as journaled
from roughfed.server.storage.store import Store


def run_summary(folder: Path) -> RunSummary:
    """The run of a server directory, as far as it has come.

    What only the clients know (who holds what, the scenario) is left out.

    Args:
        folder: the directory with fed.toml and state/.

    Raises:
        ConfigError: no run was started here, or fed.toml cannot be read.
    """
    config = aggregator.load(folder, {})
    with closing(open_store(folder)) as store:
        if (run := journaled.run_summary(store, config)) is None:
            raise _nothing_yet(folder)
        return run


def open_store(folder: Path) -> Store:
    """The journal of a directory, for reading; the caller closes it.

    Raises:
        ConfigError: there is none.
    """
    state = aggregator.ServerFiles(folder).state
    if not (state / "journal.db").is_file():
        raise _nothing_yet(folder)
    return Store(state)


def _nothing_yet(folder: Path) -> ConfigError:
    return ConfigError("no run was started in this directory", file=str(folder), cure="roughfed server --dir DIR")
