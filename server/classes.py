"""Classes of clients in a round: who sits in which, which of them are large enough, and what the header says of them.

A class that is too small for a sum of its own, or for the defence, takes no part: its clients are not asked, and told
why, or sit in the standard class if they agreed to (`policy.standard_if_few`). That is decided before the header is
signed, from what the clients said at hello; the header lists the classes that take part, so everything later follows
from it.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from roughfed.classes import STANDARD, header_for, named, names_of, ranges_of, seat
from roughfed.codec.plan import plan_subset
from roughfed.config.federation import FederationConfig
from roughfed.errors import ConfigError, RemoteProtocolError
from roughfed.masking import CODES_A_NUMBER
from roughfed.messages import Hello, RoundClosed
from roughfed.secagg.groups import SMALLEST
from roughfed.server.defence.check import too_few
from roughfed.server.defence.plan import rule_of
from roughfed.server.sampling import Order, choose
from roughfed.types import ClientClass, Spec
from roughfed.wire.session import decode_header

if TYPE_CHECKING:
    from roughfed.server.federation import Federation
    from roughfed.server.store import RoundRow

log = logging.getLogger(__name__)

MANY = 1000


@dataclass(frozen=True)
class Seating:
    """Who takes part as what.

    Attributes:
        seats: client -> class, of everybody who can be asked.
        few: class -> in words, why it takes no part.
        standing: client -> the same, of everybody who has no seat.
    """

    seats: Mapping[str, str]
    few: Mapping[str, str] = field(default_factory=dict[str, str])
    standing: Mapping[str, str] = field(default_factory=dict[str, str])

    def of(self, name: str, among: Iterable[str] | None = None) -> list[str]:
        """The clients of a class, sorted."""
        return sorted(c for c in (self.seats if among is None else among) if self.seats[c] == name)


def fewest(config: FederationConfig, clients: int) -> int:
    """Clients that a class needs, as far as it is from it: `clients` itself where it is large enough."""
    rule_name = config.defence.rule_of(config.privacy.server_sees)
    rule = None if rule_name == "none" else rule_of(rule_name)
    least = max(clients, SMALLEST if config.privacy.masked else 1)
    return next((n for n in range(least, MANY) if rule is None or not too_few(config, rule, n)), MANY)


def seating(config: FederationConfig, hellos: Mapping[str, Hello]) -> Seating:
    """Seat the clients that could be asked.

    Args:
        config: the settings.
        hellos: what each of them said first.
    """
    if not config.classes:
        return Seating(dict.fromkeys(hellos, STANDARD))
    seats = {name: hello.client_class for name, hello in hellos.items()}
    few: dict[str, str] = {}
    standing: dict[str, str] = {}
    for name in (*config.classes, STANDARD):  # whoever falls back to the standard class counts in it
        members = [client for client, place in seats.items() if place == name]
        if not members or (needed := fewest(config, len(members))) <= len(members):
            continue
        few[name] = f"too few of {named(name)}: {len(members)} of {needed}"
        for client in members:
            if name != STANDARD and hellos[client].standard_if_few:
                seats[client] = STANDARD
            else:
                standing[client] = few[name]
                del seats[client]
    return Seating(seats, few, standing)


def drawn(
    seated: Seating, *, invited: int, seed: int, round_number: int, order: Order | None = None
) -> tuple[str, ...]:
    """The cohort: of each class its share of those who are invited, and enough of each for a sum.

    Without classes as `sampling.choose` draws.
    """
    by_class = {name: seated.of(name) for name in sorted(set(seated.seats.values()))}
    if len(by_class) <= 1 or invited >= len(seated.seats):
        return choose(list(seated.seats), invited=invited, seed=seed, round_number=round_number, order=order)
    cohort: list[str] = []
    for name, clients in by_class.items():
        share = -(-invited * len(clients) // len(seated.seats))
        wanted = min(len(clients), max(share, SMALLEST))
        cohort += choose(clients, invited=wanted, seed=seed, round_number=round_number, order=order)
        log.debug("%s: %d of %d asked", named(name), wanted, len(clients))
    return tuple(sorted(cohort))


def clear_classes(config: FederationConfig, seated: Seating, cohort: Sequence[str]) -> tuple[ClientClass, ...]:
    """What a header says of the classes where nothing is masked."""
    codec = config.codec.uplink(config.privacy.server_sees)
    open_ones = {seated.seats[client] for client in cohort}
    return tuple(
        ClientClass(
            name,
            plan_subset(settings.fraction),
            settings.tensors,
            codec=codec if settings.fraction == 1 else "identity",
        )
        for name, settings in config.classes.items()
        if name in open_ones
    )


def offered(config: FederationConfig) -> tuple[ClientClass, ...]:
    """What a welcome says of the classes."""
    return tuple(
        ClientClass(name, plan_subset(settings.fraction), settings.tensors) for name, settings in config.classes.items()
    )


def waiting_for(fed: Federation, names: Iterable[str]) -> str:
    """Why no round can begin with these clients: no class has enough of them; empty when one has."""
    seated = seating(fed.config, fed.members.hellos(names))
    return "" if seated.seats else "waiting: " + "; ".join(seated.few.values())


def check_hello(config: FederationConfig, hello: Hello) -> None:
    """Refuse a client of a class that there is not.

    Raises:
        RemoteProtocolError: reason "class".
    """
    if hello.client_class not in (STANDARD, *config.classes):
        known = ", ".join(config.classes) or "none beside the standard one"
        raise RemoteProtocolError(
            f"this federation has no class {hello.client_class!r} (client.toml, policy.client_class); it has {known}",
            reason="class",
        )


def check_classes(config: FederationConfig, spec: Spec) -> None:
    """Hold the classes against the model, before the first round.

    Raises:
        ConfigError: one of them trains nothing that is learned, or a pattern of its means nothing here.
    """
    from roughfed.classes import part_of

    names = ", ".join(t.name for t in spec.tensors[:12])
    for name, settings in config.classes.items():
        key = f"classes.{name}"
        for pattern in settings.tensors:
            if not ranges_of(spec, (pattern,)):
                cause = f"{pattern!r} of class {name} matches no tensor that clients send"
                raise ConfigError(cause, key=key, cure=f"their names: {names}")
        part = part_of(spec, settings.tensors)
        if not any(t.kind == "parameter" for t in part.tensors):
            raise ConfigError(f"class {name} trains no parameter", key=key, cure=f"name some of these: {names}")
        dim, sent = settings.sketch_dim or config.sketch.dim, part.size // plan_subset(settings.fraction)
        if config.privacy.server_sees == "sketches" and dim * CODES_A_NUMBER > sent:
            cause = f"class {name} sends {sent} coordinates, too few for the {dim} numbers that the server sees of them"
            raise ConfigError(cause, key=key, cure=f"write sketch_dim = {max(2, sent // 16 * 2)} there, or less")


def seat_of(config: FederationConfig, row: RoundRow, hello: Hello) -> str | None:
    """The class as which a client takes part in a round; None where it has no seat any more."""
    if not config.classes:
        return STANDARD
    try:
        header = decode_header(row.header.body)
        return seat(header, hello.client_class, standard_if_few=hello.standard_if_few)
    except RemoteProtocolError:
        return None


def tell_standing(fed: Federation, row: RoundRow, seated: Seating) -> None:
    """Say to whoever has no seat why; it trains nothing."""
    fed.few = dict(seated.few)
    for name, why in seated.few.items():
        log.warning("round %d: %s", row.round, why if name else f"{why}; they are not asked")
    for client, why in seated.standing.items():
        if (session := fed.members.get(client)) is not None:
            closed = fed.closed(row, client)
            session.send(RoundClosed(row.round, "open", closed.model_version, closed.model_digest, "absent", why[:100]))


def class_figures(fed: Federation, row: RoundRow) -> dict[str, object]:
    """What the summary of a round keeps of the classes; nothing where there are none."""
    if not fed.config.classes:
        return {}
    header, received = decode_header(row.header.body), fed.store.receipts(fed.run, row.round)
    classes = {name: Counter[str]() for name in (STANDARD, *fed.config.classes)}
    sizes: dict[str, int] = {}
    for update in received.values():
        name = update.statement.client_class
        sizes[name] = max(sizes.get(name, 0), update.receipt.size_bytes)
        if (row.sets or {}).get(update.receipt.client) == "":
            classes[name]["accepted"] += 1
    open_ones = names_of(header)
    found: dict[str, object] = {}
    for name, counts in classes.items():
        settings = fed.config.classes.get(name)
        as_class = header_for(header, name) if name in open_ones else None
        void = fed.few.get(name, "") or ("" if counts["accepted"] else "nothing of it counts")
        found[name or "standard"] = {
            "clients": counts["accepted"],
            "keep_one_in": max(1, as_class.keep_one_in)
            if as_class
            else plan_subset(settings.fraction if settings else 1),
            "tensors": list(settings.tensors) if settings else [],
            "bytes": sizes.get(name, 0),
            "void": void,
        }
    return {"classes": found}
