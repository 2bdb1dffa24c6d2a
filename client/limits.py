"""The learning settings that a client trains with: the job's, or its own, within its limits (client.toml, [limits])."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from roughfed.config.client import ClientConfig, effective_trainer

log = logging.getLogger(__name__)


class Settings:
    """Merges a job's learning settings with this client's; says in the log what its limits change, once each time."""

    def __init__(self, config: ClientConfig, app_settings: Mapping[str, object]) -> None:
        """`app_settings`: as of `effective_trainer`."""
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
