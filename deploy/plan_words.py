"""What a plan says in sentences: what the server sees, what protects nobody from it, what is probably not meant."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from roughfed.codec.plan import plan_lanes
from roughfed.config import FederationConfig
from roughfed.config.values import duration_text
from roughfed.httpd import is_loopback
from roughfed.secagg.groups import ALONE, SMALLEST
from roughfed.server.cohort.statistics import FEWEST, wanted_facts
from roughfed.server.defence.check import too_few
from roughfed.server.defence.plan import rule_of
from roughfed.sketch.buckets import NORM_BOUND

if TYPE_CHECKING:
    from roughfed.deploy.plan import Turnout

MANY_NUMBERS = 256
"""Sketches above this are warned of, and refused by clients that do not allow it (policy.max_sketch_dim)."""

FEW_PARAMETERS = 16
"""A model with fewer parameters for each number of the sketch is small beside it."""

LONG_EPOCH = 10

CHOICE_BITS = 64
"""What a client tells by its choices, unless its policy.max_choice_bits says otherwise."""

SKETCH_NUMBERS = 12_800
"""Numbers of its updates that a client shows, unless its policy.max_sketch_numbers says otherwise."""


def sees(config: FederationConfig) -> str:
    """What the server learns about a client."""
    match config.privacy.server_sees:
        case "updates":
            return (
                "The server sees every client's whole update, its number of examples, its metrics and its evaluation. "
                "TLS protects them on the way, not from the server: whoever runs it can try to reconstruct training "
                "data. A client takes part only if its owner agreed to that: `roughfed join --accept updates`."
            )
        case "sketches":
            return (
                "The server sees the sum of each group of clients and, of every single client in every round, "
                f"{config.sketch.dim} numbers of its update: enough to tell a poisoned one by norm, distance or angle. "
                "Numbers of examples and evaluations reach it as sums. A client that lies about its numbers is named "
                "in the same round wherever the lie matters."
            )
        case "sums":
            return (
                "The server sees the sum of each group of clients and nothing of a single one; numbers of examples and "
                "evaluations reach it as sums, too. So it cannot tell a poisoned update: one client can move the sum "
                "of its group as far as the range of the codes allows."
            )


def not_protected(config: FederationConfig) -> tuple[str, ...]:
    """What stays open, in the mode that is set."""
    if not config.privacy.masked:
        return ()
    every = config.groups.regroup_every
    open_ends = [
        "Sums are visible, and who takes part in which.",
        (
            "Sums over many rounds can be compared to tell clients apart; that groups are redrawn only every "
            f"{every} rounds slows it down."
        ),
        "A model that the server has crafted to make data stand out in a sum is not prevented, if all get the same.",
        (
            "Whoever runs the server and its CA can enrol clients of its own and be in every group with them: run "
            "`roughfed ca` on another machine (`roughfed server --no-ca`), or let organisations sign the member list "
            "(`roughfed roster`)."
        ),
        (
            f"Up to {ALONE} clients are one group, so the server, which alone knows who is connected, names it: owners "
            "say whom they want in it (policy.min_known_peers and policy.known_peers in client.toml)."
        ),
    ]
    if config.privacy.server_sees == "sketches":
        open_ends += [
            (
                f"{config.sketch.dim} more numbers of every client are measured each round; the client limits their "
                "total (policy.max_sketch_numbers)."
            ),
            (
                "Clients of one group that collude can shift amounts among themselves, so scores of single ones can be "
                f"false; their total is at most about {NORM_BOUND} times what the norm bound lets them claim."
            ),
            "Silence when a sum is unmasked proves nothing: it is noted.",
        ]
    return tuple(open_ends)


def warnings(config: FederationConfig, turnouts: Sequence[Turnout], size: int | None) -> Iterator[str]:
    """What works and is probably not meant."""
    yield from _quorum_warnings(turnouts, masked=config.privacy.masked)
    yield from _round_warnings(config)
    if config.privacy.masked:
        yield from _group_warnings(config, turnouts)
    if config.privacy.server_sees == "sketches":
        yield from _sketch_warnings(config, size)
    yield from _defence_warnings(config, turnouts)
    yield from _cluster_warnings(config)
    yield from _fairness_warnings(config)
    yield from _sums_warnings(config, turnouts)
    yield from _model_warnings(config)
    yield from _server_warnings(config)


def _quorum_warnings(turnouts: Sequence[Turnout], *, masked: bool) -> Iterator[str]:
    if alone := [t for t in turnouts if t.quorum == 1]:
        yield (
            f"round.quorum is 1 update with {_numbers(alone)} clients: "
            "the model step of such a round is one client's update, and everybody gets to see it."
        )
    if never := [t for t in turnouts if t.quorum > t.invited and t.starts]:
        yield f"With {_numbers(never)} clients no round counts: round.quorum is more than those invited."
    fragile = [t for t in turnouts if t.starts and t.quorum == t.invited and not (masked and t.invited == SMALLEST)]
    if fragile:
        yield f"With {_numbers(fragile)} clients the loss of any one of them voids the round."


def _round_warnings(config: FederationConfig) -> Iterator[str]:
    r = config.round
    if 0 < r.time_budget < r.deadline:
        yield (
            f"round.time_budget = {duration_text(r.time_budget)} is shorter than one "
            f"round.deadline = {duration_text(r.deadline)}."
        )
    if r.early_stop_rounds >= r.rounds:
        yield f"round.early_stop_rounds = {r.early_stop_rounds} never applies within round.rounds = {r.rounds}."
    if 0 < r.early_stop_rounds < r.evaluate_every:
        yield (
            f"round.early_stop_rounds = {r.early_stop_rounds} is shorter than "
            f"round.evaluate_every = {r.evaluate_every}: a single evaluation without improvement ends the run."
        )
    if r.early_stop_rounds and r.evaluate_every and not config.data.name:
        yield "The server has no evaluation data (data.name), so early stop judges by what clients report about theirs."


def _group_warnings(config: FederationConfig, turnouts: Sequence[Turnout]) -> Iterator[str]:
    if tight := [t for t in turnouts if t.groups and SMALLEST in t.groups.sizes]:
        yield (
            f"With {_numbers(tight)} clients there is a single group of {SMALLEST}, without slack: "
            "whichever client is lost or excluded, the round is void."
        )
    if fine := [t for t in turnouts if t.groups and t.groups.levels > plan_lanes(max(t.groups.sizes)).levels]:
        yield (
            f"codec.lane_bits = {config.codec.lane_bits} rounds to {max(t.groups.levels for t in fine if t.groups):,} "
            "levels, finer than a sum of one group needs: clients refuse it unless their policy.max_levels allows it."
        )
    every = config.groups.regroup_every
    if every < LONG_EPOCH and any(t.groups and len(t.groups.sizes) > 1 for t in turnouts):
        yield (
            f"groups.regroup_every = {every}: the more often groups are redrawn, the fewer rounds it takes to work "
            f"out single clients from the sums of different groups; {LONG_EPOCH} is the most."
        )


def _sketch_warnings(config: FederationConfig, size: int | None) -> Iterator[str]:
    dim = config.sketch.dim
    if dim > MANY_NUMBERS:
        yield (
            f"sketch.dim = {dim} is above {MANY_NUMBERS}: in measurements 1024 numbers of a step on one image gave "
            "the image away. Clients refuse it unless their policy.max_sketch_dim allows it."
        )
    if dim * config.round.rounds > SKETCH_NUMBERS:
        yield (
            f"round.rounds = {config.round.rounds} with sketch.dim = {dim} ask a client for "
            f"{dim * config.round.rounds:,} numbers of its updates, and it shows {SKETCH_NUMBERS:,} in all unless its "
            "policy.max_sketch_numbers allows more: it leaves the rounds after that out."
        )
    if size is not None and dim * FEW_PARAMETERS > size:
        yield (
            f"sketch.dim = {dim} is not well under the model's {size} parameters: "
            "so many numbers say much about each client's update."
        )


def _cluster_warnings(config: FederationConfig) -> Iterator[str]:
    chosen, rounds = config.clusters, config.round.rounds
    if chosen.method != "ifca":
        return
    each, questions = choice_bits(chosen.k), 1 + (rounds - 1) // chosen.choose_every
    yield (
        f"Each client says, in the clear, which of {chosen.k} models fits its training data best: {each} "
        f"bit{'s' * (each != 1)} in about {questions} question{'s' * (questions != 1)}. It does so where its own "
        "client.toml has policy.clusters = true; who does not say stays in the default."
    )
    if each * questions > CHOICE_BITS:
        yield (
            f"That is more than the {CHOICE_BITS} bits that a client tells unless its policy.max_choice_bits allows "
            "it: clients keep their last cluster then. Raise clusters.choose_every."
        )


def _fairness_warnings(config: FederationConfig) -> Iterator[str]:
    rule, cap = config.fairness.rule, config.fairness.cap
    if rule != "none" and config.defence.rule_of(config.privacy.server_sees) == "none":
        yield (
            f'fairness.rule = "{rule}" takes every client\'s word for its loss, and no defence looks at its update: '
            f"whoever claims a high one counts {cap:g} times (docs/fairness.md)."
        )


def _defence_warnings(config: FederationConfig, turnouts: Sequence[Turnout]) -> Iterator[str]:
    name = config.defence.rule_of(config.privacy.server_sees)
    if name == "none":
        return
    share, rule = config.defence.f, rule_of(name)
    started = [t for t in turnouts if t.starts]
    if idle := [t for t in started if not t.attackers]:
        yield (
            f"defence.f = {share} of {_numbers(idle)} clients is less than one: "
            f'defence.rule = "{name}" leaves nobody out then.'
        )
    clear = config.privacy.server_sees != "sums"  # of groups, none is lost for lack of a few updates
    if tight := [t for t in started if clear and too_few(config, rule, t.quorum)]:
        yield (
            f"With {_numbers(tight)} clients a round that ends at its quorum does not count: "
            f'defence.rule = "{name}" needs more of them. Raise round.quorum or lower defence.f.'
        )


def _sums_warnings(config: FederationConfig, turnouts: Sequence[Turnout]) -> Iterator[str]:
    t, budget = config.trainer, config.round.time_budget
    asking = bool(wanted_facts(t)) or t.calibrate != "none"
    if asking and (few := [t for t in turnouts if t.starts and t.goal < FEWEST]):
        yield (
            f"With {_numbers(few)} clients the sums that [trainer] asks for make no facts and finish no classifier: "
            f"{FEWEST} must be behind them."
        )
    if t.self_weight:
        yield (
            "trainer.self_weight goes by sums that no single client can be held to: one that lies about its losses can "
            "make all others weigh themselves down to 1/4. Leave it out where clients may be hostile."
        )
    if t.calibrate == "ccvr" and budget:
        yield (
            f"round.time_budget = {duration_text(budget)} may end the run before its last round, in which "
            'trainer.calibrate = "ccvr" takes its sums.'
        )


def _model_warnings(config: FederationConfig) -> Iterator[str]:
    if config.model.keep_best and not config.round.evaluate_every:
        yield "model.keep_best has nothing to compare while round.evaluate_every = 0: only the newest models are kept."
    if config.model.app and config.data.name:
        yield "model.app and data.name: the own model must take the shapes of the listed data to be evaluated on it."


def _server_warnings(config: FederationConfig) -> Iterator[str]:
    s = config.server
    if s.http and not is_loopback(s.http_host):
        yield (
            f"server.http_host = {s.http_host} opens the status page and /metrics beyond this machine, without TLS: "
            "whoever reads along gets the token. Put a TLS proxy before it, or forward the port (ssh -L)."
        )
    if not s.address and s.port == 0:
        yield "server.port = 0 changes at every start, and clients keep the port that they were told."


def _numbers(turnouts: Sequence[Turnout]) -> str:
    return ", ".join(str(t.connected) for t in turnouts)


def choice_bits(models: int) -> int:
    """What a client tells at most by choosing one of so many models: log2 of them, rounded up."""
    return max(1, (models - 1).bit_length())
