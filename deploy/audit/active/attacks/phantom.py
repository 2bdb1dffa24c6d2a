"""Members that count and upload nothing: a sum of one client and of them is that client's update.

g members, t answers unmask them, c colluders. g - t members are shown so few deals, one of them with a false tag, that
they leave the round, and, where the protocol lets them, open their mask secret on the way. Everybody else masks with
them. The server then accepts the victim, these phantoms and the colluders, and excludes all others, who are alive, sign
and answer: so it is given the victim's self mask, and the mask secrets of the excluded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from roughfed.codec.chain import decode_sum
from roughfed.crypto import agreement, shamir
from roughfed.crypto.masks import Lanes, Sign, sum_masks
from roughfed.crypto.merkle import merkle_root
from roughfed.deploy.audit.active.attack import ActiveAttack, judged, word
from roughfed.deploy.audit.active.result import Loot
from roughfed.deploy.audit.active.round import RoundTable, together
from roughfed.deploy.audit.active.scene import VICTIM, AttackScene, model
from roughfed.deploy.audit.active.server import AttackRefused, Flat
from roughfed.messages import ServerStage
from roughfed.secagg import messages as m
from roughfed.secagg.groups import smallest_sum, threshold
from roughfed.secagg.roster import make_cohort
from roughfed.types import Signed
from roughfed.wire.secagg import decode_stage, encode_stage
from roughfed.wire.updates import decode_statement

Uploads = Mapping[str, tuple[Signed, bytes]]


@dataclass
class PhantomPlot:
    """Who is to be what.

    Attributes:
        table: everybody.
        phantoms: who is to leave.
        excluded: the honest ones that are to answer.
        adverts: of everybody.
        opened: mask secrets of phantoms that opened them.
        refusals: why phantoms did not.
    """

    table: RoundTable
    phantoms: list[str]
    excluded: list[str]
    adverts: dict[str, m.Advertise] = field(default_factory=dict[str, m.Advertise])
    opened: dict[str, bytes] = field(default_factory=dict[str, bytes])
    refusals: list[str] = field(default_factory=list[str])

    @property
    def names(self) -> list[str]:
        """The group."""
        return self.table.names

    @property
    def threshold(self) -> int:
        """T."""
        return threshold(len(self.names))

    @property
    def active(self) -> list[str]:
        """Who is told everything: all but the phantoms."""
        return [name for name in self.names if name not in self.phantoms]

    @property
    def accepted(self) -> list[str]:
        """Who is said to be in the sum."""
        return [name for name in self.names if name not in self.excluded]

    def stages(self, kind: str, value: m.Message, names: Sequence[str]) -> dict[str, ServerStage]:
        """One message for these."""
        return dict.fromkeys(names, ServerStage(kind, encode_stage(value)))

    def by_server(self, kind: str, domain: bytes, value: m.Message) -> ServerStage:
        """A message under the server's signature."""
        body = encode_stage(value)
        return ServerStage(kind, body, self.table.server.sign(domain, body))


async def phantom(scene: AttackScene) -> Loot:
    """One round of one group."""
    server, size = scene.server, len(scene.clients) + len(scene.members)
    server.sees = "sketches"
    opened = server.open(model(), size, clip_norm=1.5 * scene.usual_norm())
    absent = size - threshold(size)
    if 1 + absent + len(scene.members) < smallest_sum(size):
        raise AssertionError("too few colluders for this group")
    table = RoundTable(server, opened, scene.clients, scene.members)
    plot = PhantomPlot(table, scene.others[:absent], scene.others[absent:])
    server.ask(scene.clients, opened)
    try:
        uploads = await _agree_on_keys(plot)
        answers = await _unmask(plot, uploads)
        found = _lift(plot, uploads[VICTIM][1], answers)
    except AttackRefused as refused:
        return judged(scene, None, 1, (*plot.refusals, word(refused)))
    return judged(scene, found, 1, tuple(plot.refusals))


async def _agree_on_keys(plot: PhantomPlot) -> Uploads:
    """Keys, deals as each is to see them, uploads of those who stay."""
    table = plot.table
    adverts = [await table.advert(name) for name in plot.names]
    plot.adverts = {advert.signer: decode_stage(m.Advertise, advert.body) for advert in adverts}
    entries = tuple(table.entry(name) for name in plot.names)
    roster = m.Roster(_header(plot), 0, tuple(adverts), entries, make_cohort(adverts), table.opened.nonce)
    dealt = await table.said(plot.stages("roster", roster, plot.names), "shares")
    for name, seated in table.seated.items():
        dealt[name] = seated.machine.spoil(dealt[name], plot.phantoms)
    whole = m.Deals(tuple(dealt[name] for name in plot.names))
    table.tell(plot.stages("deals", whole, plot.active))
    for name in plot.phantoms:
        await _banish(plot, name, dealt)
    found = await together([table.upload(name) for name in plot.active])
    return dict(zip(plot.active, found, strict=True))


def _forged(plot: PhantomPlot, uploads: Uploads) -> dict[str, Signed]:
    """Statements of the phantoms, who made none: a colluder's, under their names."""
    seated = next(iter(plot.table.seated.values()))
    own = decode_statement(uploads[seated.member.name][0].body)
    return {name: seated.member.state(replace(own, client=name), name=name) for name in plot.phantoms}


async def _banish(plot: PhantomPlot, name: str, dealt: Mapping[str, Signed]) -> None:
    """Show a member exactly t deals, one of them with a false tag; take its mask secret if it opens it."""
    others = [VICTIM, *plot.excluded][: plot.threshold - 2]
    shown = sorted([name, next(iter(plot.table.seated)), *others])
    try:
        said = await plot.table.said(plot.stages("deals", m.Deals(tuple(dealt[n] for n in shown)), [name]), "opening")
    except AttackRefused as refused:
        plot.refusals.append(f"phantom: {refused.detail or refused.reason}")
        return
    opening = decode_stage(m.Opening, said[name].body)
    if opening.kind == "mask":
        plot.opened[name] = opening.key


async def _unmask(plot: PhantomPlot, uploads: Uploads) -> dict[str, m.Unmask]:
    """Seed, sets and the request, as if the phantoms had uploaded."""
    table, header = plot.table, _header(plot)
    statements = {name: uploads[name][0] for name in plot.active} | _forged(plot, uploads)
    root = merkle_root([merkle_root([statements[name].digest for name in plot.names])])
    dim = table.opened.header.sketch_dim
    if dim:
        shown = tuple(statements[name] for name in plot.names)
        seed = plot.by_server("seed", m.SEED_DOMAIN, m.Seed(header, 0, root, (), 0, 1, dim, shown))
        await table.said(dict.fromkeys(plot.active, seed), "sketch")
    excluded = tuple((name, "norm") for name in plot.excluded)
    counted = tuple(statements[name] for name in plot.accepted)
    sets = m.Sets(header, 0, tuple(plot.accepted), excluded, root if dim else b"", counted)
    agreed = await table.said(dict.fromkeys(plot.active, plot.by_server("sets", m.SETS_DOMAIN, sets)), "consistency")
    request = m.UnmaskRequest(tuple(agreed[name] for name in plot.active))
    said = await table.said(plot.stages("unmask", request, plot.active), "unmask")
    return {name: decode_stage(m.Unmask, signed.body) for name, signed in said.items()}


def _lift(plot: PhantomPlot, upload: bytes, answers: Mapping[str, m.Unmask]) -> Flat:
    """Take off the victim's upload every mask that is known; the update that its codes say."""
    masking, header, t = plot.table.opened.secret, _header(plot), plot.threshold

    def secret(dealer: str, *, own: bool) -> bytes:
        said = {name: dict(a.self_mask if own else a.mask_secret) for name, a in answers.items()}
        given = {1 + plot.names.index(name): shares[dealer] for name, shares in said.items() if dealer in shares}
        return shamir.combine(dict(list(given.items())[:t]), t)

    b = secret(VICTIM, own=True)
    own_key = agreement.derive(b, agreement.SELF, agreement.member_info(header, 0, VICTIM))
    masks: list[tuple[bytes, Sign]] = [(own_key, -1)]
    privates = {name: secret(name, own=False) for name in plot.excluded} | plot.opened
    privates |= {name: seated.machine.mask_secret for name, seated in plot.table.seated.items()}
    for name, private in privates.items():
        shared = agreement.exchange(private, plot.adverts[VICTIM].mask_key)
        key = agreement.derive(shared, agreement.MASK, agreement.pair_info(header, 0, VICTIM, name))
        masks.append((key, -1 if name > VICTIM else 1))
    lanes: Lanes = np.frombuffer(upload, dtype=masking.terms.dtype).copy()
    sum_masks(lanes, masks)
    return decode_sum(lanes[: masking.terms.length], 1, masking.params)


def _header(plot: PhantomPlot) -> bytes:
    return plot.table.opened.secret.terms.header_digest


PHANTOM = ActiveAttack(
    "phantom members",
    "members that left the round count as if they had uploaded",
    6,
    1,
    phantom,
    needs="1 of 7",
)
PHANTOM_OF_TEN = ActiveAttack("phantom members, 10", "the same in a group of 10", 9, 1, phantom, needs="1 of 10")
