"""The learning settings that a client trains with: the job's, or its own, within its limits (client.toml, [limits])."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from roughfed.config.client import ClientConfig, effective_trainer
from roughfed.errors import ConfigError

log = logging.getLogger(__name__)


def check_app_settings(config: ClientConfig, app_settings: Mapping[str, object]) -> None:
    """Hold the own app's learning settings (`Client(..., lr=0.1, trainer="gce")`) against client.toml.

    Raises:
        ConfigError: there are some, and client.toml leaves these settings to the server.
    """
    if config.trainer.local or not app_settings:
        return
    given = sorted("trainer" if name == "method" else name for name in app_settings)
    server = ", ".join(f"trainer.{'method' if name == 'trainer' else name}" for name in given)
    cure = f"remove {', '.join(given)} there: the server's {server} decides (fed.toml; roughfed simulate --set)"
    raise ConfigError(
        f"Client(...) gives {', '.join(given)}, and trainer.local = false: the server's value would win",
        file=config.app.path,
        key=given[0],
        cure=f"{cure}; for a client that may train as it likes, write local = true in [trainer] of client.toml",
    )


class LearningSettings:
    """Merges a job's learning settings with this client's; says in the log what its limits change, once each time."""

    def __init__(self, config: ClientConfig, app_settings: Mapping[str, object]) -> None:
        """Take both together.

        Args:
            config: client.toml.
            app_settings: as of `effective_trainer`.

        Raises:
            ConfigError: see `check_app_settings`.
        """
        check_app_settings(config, app_settings)
        self._config, self._app_settings = config, app_settings
        self._said: dict[str, object] = {}

    def __call__(self, job_settings: Mapping[str, object]) -> dict[str, object]:
        """Every learning setting by its name in [trainer].

        Raises:
            RemoteProtocolError: the job has an unknown key or an impossible value.
        """
        asked = effective_trainer(job_settings, self._config, app_settings=self._app_settings)
        lowered = self._config.limits.lowered(asked)
        if lowered and lowered != self._said:
            self._said = lowered
            said = [f"{name} {value} instead of {asked[name] or 'no limit'}" for name, value in lowered.items()]
            log.info("this client trains with %s (client.toml, [limits])", ", ".join(said))
        return asked | lowered
