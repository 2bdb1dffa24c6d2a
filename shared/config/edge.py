"""What the fed.toml of an edge aggregator cannot say: the federation above decides it.

Its [trainer] and round.rounds may stand there, for the sake of one file for all, and are those of the federation above.
"""

from __future__ import annotations

from collections.abc import Iterator

from roughfed.config.federation import FederationConfig
from roughfed.config.problems import Problem, conflict, refusal
from roughfed.config.values import show

ABOVE = "An edge gets its model and its learning settings from the federation above"

OURS: dict[str, str] = {
    "clusters.method": "clusters are models of one server",
    "codec.downlink": "a model from above is handed on as it is, since no step from the one before leads to it",
    "defence.rollback": "which version stands is decided above",
    "model.init": "there is one start, and it is made above",
    "model.frozen": "a frozen base is handed out by one server",
    "model.adapters": "adapters stand on a frozen base, which one server hands out",
    "optimize.rule": "the step is made above",
    "optimize.lr": "the step is made above",
    "round.early_stop_rounds": "when it is over is decided above",
    "round.time_budget": "when it is over is decided above",
}
"""Key -> why only the federation at the top can have it."""

HARMLESS: dict[str, object] = {"codec.downlink": "identity"}
"""What may be said beside the default: it is so in any case."""


def check_edge(config: FederationConfig) -> None:
    """Refuse what only the server at the top can do.

    Raises:
        SettingsRefused: lists every such setting.
    """
    if problems := list(edge_conflicts(config)):
        raise refusal(problems)


def edge_conflicts(config: FederationConfig) -> Iterator[Problem]:
    """Everything of this kind that is wrong."""
    plain = FederationConfig()
    for key, why in OURS.items():
        table, name = key.split(".")
        if key == "model.init" and config.model.file_alone:
            continue  # it says which tensors there are; their values come from above
        value = getattr(getattr(config, table), name)
        if value not in (getattr(getattr(plain, table), name), HARMLESS.get(key)):
            cure = f"Remove it here; in the fed.toml of the server above it has its place ({why})."
            yield conflict(config, (key,), f"{ABOVE}: {key} = {show(value)} would change nothing.", cure)
