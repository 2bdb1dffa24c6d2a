"""As which tier this client takes part in a round, held against the offer of the welcome and its own policy."""

from __future__ import annotations

from roughfed import codec
from roughfed.client.policy import Rules
from roughfed.errors import RemoteProtocolError
from roughfed.messages import Welcome
from roughfed.tiers import STANDARD, header_for, named, ranges_of, tier_in_round
from roughfed.types import Job, RoundHeader
from roughfed.upload_format import sending_of


def check_offer(welcome: Welcome, rules: Rules) -> None:
    """Is there a tier for this client in this run?

    Raises:
        RemoteProtocolError: reason "class".
    """
    offered = {one.name: one for one in welcome.tiers}
    own = rules.policy.tier
    if own != STANDARD and own not in offered:
        raise RemoteProtocolError(
            f"this run has no tier {own!r} (client.toml, policy.tier); it has "
            f"{', '.join(offered) or 'none beside the standard one'}",
            reason="class",
        )
    if own != STANDARD and not ranges_of(welcome.spec, offered[own].tensors):
        raise RemoteProtocolError(f"tier {own} trains no tensor of this model", reason="class")


def select_tier(job: Job, header: RoundHeader, welcome: Welcome, rules: Rules) -> RoundHeader:
    """The header of a round as this client's tier reads it.

    Raises:
        RemoteProtocolError: reason "class"; a tier that the welcome did not offer, or offered with other terms, or no
            place for this client; "codec"; "policy": an update larger than it sends.
    """
    offered = {one.name: one for one in welcome.tiers}
    for one in header.tiers:
        known = offered.get(one.name)
        if known is None or (known.keep_one_in, known.tensors) != (one.keep_one_in, one.tensors):
            raise RemoteProtocolError(f"tier {one.name} has other terms than were agreed on", reason="class")
    own = header_for(header, tier_in_round(header, rules.policy.tier, standard_if_few=rules.policy.standard_if_few))
    if own.codec not in (*codec.CODECS, codec.CHAIN) or header.masked != (own.codec == codec.CHAIN):
        raise RemoteProtocolError(f"codec {own.codec!r} of {named(own.tier)} is not known here", reason="codec")
    if not header.masked:
        sending = sending_of(job.header.digest, own, welcome.spec)
        check_size(codec.CODECS[own.codec].max_bytes(sending.size), rules)
    return own


def check_size(size_bytes: int, rules: Rules) -> None:
    """May an update be so large?

    Raises:
        RemoteProtocolError: reason "policy".
    """
    if size_bytes > rules.policy.max_update_bytes:
        raise RemoteProtocolError(
            f"an update of {size_bytes} bytes, this client sends at most {rules.policy.max_update_bytes} (client.toml, "
            "policy.max_update_bytes)",
            reason="policy",
        )
