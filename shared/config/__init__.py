"""Settings: `fed.toml` of the server, `client.toml` of a client, their environment variables and flags.

`load_federation` and `load_client` read and type-check; `check_federation` and `check_client` refuse combinations that
cannot work. Every refusal is a ConfigError that says the file, the key, the cause and the cure. Nothing here imports
torch or grpc.
"""

from roughfed.config.client import ClientConfig, effective_trainer
from roughfed.config.conflicts import check_client, check_federation
from roughfed.config.federation import FederationConfig
from roughfed.config.load import load_client, load_federation
from roughfed.config.problems import Problem, SettingsNotBuilt, SettingsRefused
from roughfed.config.template import write_template
from roughfed.config.values import Origin

__all__ = [
    "ClientConfig",
    "FederationConfig",
    "Origin",
    "Problem",
    "SettingsNotBuilt",
    "SettingsRefused",
    "check_client",
    "check_federation",
    "effective_trainer",
    "load_client",
    "load_federation",
    "write_template",
]
