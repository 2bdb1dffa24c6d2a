"""The federations that a demo plays, one after the other, as settings files: what it is about comes last.

On rough data plain FedAvg comes before it. Under attack the same clients come before it without an attack, and then
with it and without a defence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from roughfed.config import ClientConfig, FederationConfig
from roughfed.config.conflicts import goes_by_shares
from roughfed.config.template import render_template
from roughfed.deploy.demo.attackers import Attackers, attackers_of, how_many
from roughfed.deploy.demo.options import (
    MAX_CLIENTS,
    DemoOptions,
    Preset,
    client_settings,
    preset_of,
    server_settings,
    settled,
)
from roughfed.deploy.demo.scenarios import Scenario, scenario_of
from roughfed.errors import ConfigError
from roughfed.methods import AUTO, PLAIN, read_method
from roughfed.secagg.groups import SMALLEST
from roughfed.server.defence.plan import tolerated

UNDEFENDED = {"defence.rule": "none"}
STAYING = {"client.stay": 10, "policy.max_counts": 10}  # the same clients are in every act, each a run of its own
CLEAN_RUN, PLAIN_RUN, LAST_RUN = "clean", "plain", "last"


@dataclass(frozen=True, slots=True)
class Act:
    """One federation of the demo.

    Attributes:
        name: clean, plain or last.
        method: the parts that train.
        rounds: R.
        fed: text of fed.toml.
        clients: text of each client's client.toml, by its name.
        attackers: who attacks; None: nobody.
        starts: clients whose processes start with it; the others live since an earlier one.
        shown: what it is, in a few words; empty: the scenario and the method say it.
        apart: its clients are its own, and end with it; else they are those of the acts before.
    """

    name: str
    method: str
    rounds: int
    fed: str
    clients: Mapping[str, str]
    attackers: Attackers | None = None
    starts: Sequence[str] = field(default_factory=tuple[str, ...])
    shown: str = ""
    apart: bool = False

    @property
    def hostile(self) -> tuple[str, ...]:
        """Names of those who attack."""
        return self.attackers.names if self.attackers is not None else ()


def acts_of(options: DemoOptions) -> list[Act]:
    """The federations that the demo plays, the last one being what it is about.

    Raises:
        ConfigError: an option that cannot be.
    """
    options = settled(options)
    if not 2 <= options.clients <= MAX_CLIENTS:
        cure = f"give 2 to {MAX_CLIENTS}, each is a process with a trainer of about 300 MB"
        raise ConfigError(f"{options.clients} clients cannot be started here", key="--clients", cure=cure)
    if options.server_sees in ("sketches", "sums") and options.clients < SMALLEST:
        cause = f"{options.clients} clients are too few to hide in, {SMALLEST} are needed"
        raise ConfigError(cause, key="--clients", cure=f"give {SMALLEST} or more, or --server-sees updates")
    scenario, preset = scenario_of(options.scenario), preset_of(options)
    if options.method:
        kept = {
            key: value for key, value in scenario.trainer.items() if key != "prior" or goes_by_shares(options.method)
        }
        scenario = replace(scenario, trainer={**kept, "method": options.method})
    return _poisoned(options, scenario, preset) if scenario.poisoned else _compared(options, scenario, preset)


def _compared(options: DemoOptions, scenario: Scenario, preset: Preset) -> list[Act]:
    """The scenario, and on rough data plain FedAvg before it; all clients live through both."""
    last = _act(options, scenario, preset, stay=options.names if scenario.compared else ())
    if scenario.attack:
        last = replace(last, attackers=attackers_of(scenario.attack, 1, options.names, options.server_sees))
    if not scenario.compared:
        return [replace(last, starts=options.names)]
    bare = replace(scenario, trainer={}, server=UNDEFENDED)
    plain = replace(_act(options, bare, preset, stay=options.names), name=PLAIN_RUN, shown="plain FedAvg first")
    return [replace(plain, attackers=last.attackers, starts=options.names), last]


def _poisoned(options: DemoOptions, scenario: Scenario, preset: Preset) -> list[Act]:
    """No attack, then the attack without a defence, then with one; attackers are new processes in each.

    Behind masks every act has clients of its own, which have not answered on the first model yet: with whom is left
    out, an act would ask for a sum that differs by a few from that of another, and clients open none. Whoever lies is
    found out and asked no more, and costs a round or two; there it goes on with fewer.
    """
    count = how_many(options.attackers or 0.0, options.clients)
    attackers = attackers_of(options.attack, count, options.names, options.server_sees)
    honest, lies = options.clients - count, attackers.row.lie is not None
    if options.server_sees == "sketches" and honest < SMALLEST:
        cause = (
            f"without {count} attacker{'s' * (count > 1)} {honest} clients are left, too few for a sum of {SMALLEST}"
        )
        cure = f"give {SMALLEST + count} or more, or --server-sees updates"
        raise ConfigError(cause, key="--clients", cure=cure)
    apart = lies or options.server_sees != "updates"
    stay = () if apart else options.names[:honest]
    least = honest if options.server_sees == "updates" else max(honest, SMALLEST)
    # Nobody is left behind for being slow, as attackers are who meet first.
    fewer = {"round.quorum": least, "round.patience": 0.0, **({"round.min_clients": least} if lies else {})}
    expected = options.attackers if tolerated(options.attackers or 0.0, options.clients) else count  # none would be one
    rules = {**scenario.server, **fewer, "defence.f": expected}
    last = replace(_act(options, replace(scenario, server=rules), preset, stay=stay), apart=apart)
    bare = replace(_act(options, replace(scenario, server=UNDEFENDED | fewer), preset, stay=stay), apart=apart)
    clean = replace(bare, name=CLEAN_RUN, starts=options.names, shown="without an attack")
    starts = options.names if apart else attackers.names
    hit = replace(bare, attackers=attackers, starts=starts)
    if options.server_sees == "sums":  # nobody can be judged: it is the same with and without
        return [clean, replace(hit, shown=f"{attackers.attack}, and nobody can be judged")]
    return [
        clean,
        replace(hit, name=PLAIN_RUN, shown=f"{attackers.attack}, no defence"),
        replace(last, attackers=attackers, starts=starts, shown=f"{attackers.attack}, defended"),
    ]


def _act(options: DemoOptions, scenario: Scenario, preset: Preset, *, stay: Sequence[str]) -> Act:
    """A federation without attackers; `stay`: who waits for another one when it is over."""
    trainer = {**preset.trainer, **scenario.trainer}
    rounds = options.rounds or scenario.rounds or preset.rounds
    server = {**server_settings(options, preset), "round.rounds": rounds, **_bearable(options, scenario)}
    server |= {f"trainer.{key}": value for key, value in trainer.items()}
    clients = {
        name: render_template(
            ClientConfig, client_settings(options, preset, scenario, index) | (STAYING if name in stay else {})
        )
        for index, name in enumerate(options.names)
    }
    method = str(read_method(str(trainer.get("method", PLAIN)))) if trainer.get("method") != AUTO else AUTO
    return Act(LAST_RUN, method, rounds, render_template(FederationConfig, server), clients)


def _bearable(options: DemoOptions, scenario: Scenario) -> dict[str, object]:
    """The scenario's server settings, without a defence that the mode cannot have."""
    kept = {key: value for key, value in scenario.server.items() if not key.startswith("defence.")}
    return kept if options.server_sees == "sums" else dict(scenario.server)
