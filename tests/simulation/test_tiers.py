"""Rounds of several tiers of clients: exact sums, merged means, every pattern of losses, and tiers too small."""

from contextlib import closing
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from roughfed.codec.chain import decode_merged
from roughfed.codec.plan import Summed
from roughfed.digest import content_digest
from roughfed.errors import RemoteProtocolError
from roughfed.masked_round import Masking, maskings_of
from roughfed.secagg import messages as m
from roughfed.secagg.client import ClientRound
from roughfed.secagg.roster import unusable_adverts
from roughfed.server.masked.tier_round import TOO_FEW
from roughfed.server.storage.store import RoundRow, Store
from roughfed.tiers import names_of
from roughfed.types import Job, Signed, Spec, TensorSpec, UpdateStatement
from roughfed.wire.secagg import decode_stage
from roughfed.wire.session import decode_header
from roughfed.wire.updates import UPDATE_DOMAIN, encode_statement

from .masked_rig import SERVER, Flat, MaskedRig
from .secagg import identity
from .test_garbage import newest

SPEC = Spec((TensorSpec("body.w", (30, 16)), TensorSpec("body.b", (16,)), TensorSpec("head.w", (10, 16))))
BODY, HEAD = SPEC.slices()["body.w"].start, SPEC.slices()["head.w"].start
STANDARD = [f"s{number}" for number in range(5)]
THIN = [f"t{number}" for number in range(4)]
HEADS = [f"h{number}" for number in range(4)]
TIERS = {"thin": {"fraction": 0.25}, "heads": {"tensors": ["head.*"]}}


def rig(folder: Path, *, lost: frozenset[str] = frozenset(), **more: Any) -> MaskedRig:
    names = more.pop("names", [*STANDARD, *THIN, *HEADS])
    of = {"t": "thin", "h": "heads"}
    common = np.random.default_rng(5).normal(size=SPEC.size)
    deltas = {
        name: (common + 0.3 * np.random.default_rng(number).normal(size=SPEC.size)).astype(np.float32)
        for number, name in enumerate(names)
    }
    settings = {
        "privacy": {"server_sees": more.pop("sees", "sums")},
        "round": {"quorum": 4, "deadline": 20.0, "evaluate_every": 0},
        "defence": {"rule": more.pop("rule", "none")},
        "tiers": more.pop("tiers", TIERS),
        "codec": {"clip_norm": 40.0, "downlink": "identity"},
    }
    tiers = {name: of[name[0]] for name in names if name[0] in of}
    kind: type[MaskedRig] = more.pop("kind", MaskedRig)
    return kind(folder, deltas=deltas, tiers=tiers, lost=lost, spec=SPEC, settings=settings, **more)


def summary_of(folder: Path) -> dict[str, Any]:
    with closing(Store(folder)) as store:
        return dict(store.rounds()[-1].summary or {})


def reference(played: MaskedRig, row: RoundRow) -> Flat:
    """The merged mean of the accepted clients' codes, added up in the clear, coordinate by coordinate."""
    accepted = set(row.accepted)
    maskings = maskings_of(row.header, decode_header(row.header.body), spec=SPEC, server_key=SERVER.public_key)
    weight, total = np.zeros(SPEC.size), np.zeros(SPEC.size)
    sums: dict[str, Summed] = {}
    for masking in maskings:
        names = sorted(n for n in accepted if played.masking_of(n, row.header).tier == masking.tier)
        if names:
            codes = sum(played.codes(name, masking).astype(np.uint64) for name in names)
            sums[masking.tier] = Summed(np.asarray(codes), len(names), float(len(names)), masking.params)
    whole = [sums[name] for name in ("", "thin") if name in sums]
    if whole:
        mean = (
            decode_merged(whole[0], whole[1:])
            if "" in sums
            else played.mean(sorted(accepted & set(THIN)), next(m for m in maskings if m.tier == "thin"))
        )
        members = sum(one.num_clients for one in whole)
        total += members * mean.astype(np.float64)
        weight += members
    if "heads" in sums:
        masking = next(m for m in maskings if m.tier == "heads")
        total[HEAD:] += len(accepted & set(HEADS)) * played.mean(sorted(accepted & set(HEADS)), masking)
        weight[HEAD:] += len(accepted & set(HEADS))
    return np.divide(total, weight, out=np.zeros(SPEC.size), where=weight > 0).astype(np.float32)


@pytest.mark.parametrize("sees", ["sums", "sketches"])
def test_the_sums_of_all_classes_are_exact_and_merged_by_coordinate(tmp_path: Path, sees: str) -> None:
    seen = {"sketch_dim": 32} if sees == "sketches" else {}
    tiers = {"thin": {"fraction": 0.25, **seen}, "heads": {"tensors": ["head.*"], **seen}}
    played = rig(tmp_path, sees=sees, tiers=tiers)
    played.settings["sketch"] = {"dim": 64} if sees == "sketches" else {}
    row = played.play()
    assert row.sets == dict.fromkeys(played.deltas, "")
    assert names_of(decode_header(row.header.body)) == ("", "thin", "heads")
    np.testing.assert_array_equal(newest(tmp_path)[1], reference(played, row))
    summary = summary_of(tmp_path)["tiers"]
    assert {name: (one["clients"], one["keep_one_in"], one["void"]) for name, one in summary.items()} == {
        "standard": (5, 1, ""), "thin": (4, 4, ""), "heads": (4, 1, ""),
    }  # fmt: skip
    assert summary["thin"]["bytes"] < 0.3 * summary["standard"]["bytes"] > summary["heads"]["bytes"] > 0


PATTERNS = [
    frozenset(kinds) for kinds in product(*(("", name) for name in ("s0", "upload:t1", "t0", "h2", "upload:h0")))
]


@pytest.mark.parametrize("lost", [p - {""} for p in PATTERNS[1::9]], ids=lambda lost: "+".join(sorted(lost)))
def test_whatever_is_lost_of_one_class_leaves_the_others_exact(tmp_path: Path, lost: frozenset[str]) -> None:
    check_losses(tmp_path, lost)


@pytest.mark.slow
@pytest.mark.parametrize("lost", [p - {""} for p in PATTERNS], ids=lambda lost: "+".join(sorted(lost)))
def test_every_pattern_of_losses(tmp_path: Path, lost: frozenset[str]) -> None:
    check_losses(tmp_path, lost)


def check_losses(folder: Path, lost: frozenset[str]) -> None:
    """A tier of four with one lost gives nothing; the standard one bears a loss; what counts is exact."""
    played = rig(folder, lost=lost)
    row = played.play()
    gone = {name.removeprefix("upload:") for name in lost}
    for members in (STANDARD, THIN, HEADS):
        there = [name for name in members if name not in gone]
        counts = set(there) if len(there) >= 4 else set()
        assert {name for name in members if row.sets[name] == ""} == counts
    np.testing.assert_array_equal(newest(folder)[1], reference(played, row))


def test_a_class_that_is_too_small_is_not_asked_and_told_why(tmp_path: Path) -> None:
    played = rig(tmp_path, names=[*STANDARD, *THIN[:3], *HEADS])
    row = played.play()
    assert set(row.cohort) == {*STANDARD, *HEADS} == set(played.jobs)
    assert names_of(decode_header(row.header.body)) == ("", "heads")
    for name in THIN[:3]:
        assert (played.closed[name].verdict, played.closed[name].reason) == ("absent", "too few of tier thin: 3 of 4")
    assert summary_of(tmp_path)["tiers"]["thin"]["void"] == "too few of tier thin: 3 of 4"
    np.testing.assert_array_equal(newest(tmp_path)[1], reference(played, row))


def test_clients_of_a_small_class_sit_in_the_standard_one_if_they_agreed_to(tmp_path: Path) -> None:
    played = rig(tmp_path, names=[*STANDARD, *THIN[:3]], flexible=frozenset({"t0", "t2"}))
    row = played.play()
    assert set(row.cohort) == {*STANDARD, "t0", "t2"} == set(row.accepted)
    masking = maskings_of(row.header, decode_header(row.header.body), spec=SPEC, server_key=SERVER.public_key)[0]
    np.testing.assert_array_equal(newest(tmp_path)[1], played.mean(sorted(row.accepted), masking))


def test_the_standard_class_may_be_empty(tmp_path: Path) -> None:
    played = rig(tmp_path, names=THIN)
    row = played.play()
    assert set(row.accepted) == set(THIN)
    np.testing.assert_array_equal(newest(tmp_path)[1], reference(played, row))


def test_a_class_that_loses_members_at_the_advert_has_no_group(tmp_path: Path) -> None:
    row = rig(tmp_path, lost=frozenset({"t0"})).play()
    assert {row.sets[name] for name in THIN[1:]} == {TOO_FEW}


def test_each_class_is_judged_by_itself(tmp_path: Path) -> None:
    names = [*STANDARD, "s5", "s6", *(f"t{number}" for number in range(7))]
    thin = {"thin": {"fraction": 0.25, "sketch_dim": 32}}
    played = rig(tmp_path, names=names, sees="sketches", rule="multi-krum", tiers=thin)
    played.settings["sketch"] = {"dim": 64}
    played.deltas["t3"][:] *= -1
    row = played.play()
    told = summary_of(tmp_path)["defence"]
    assert (told["judged"], told["f"]) == (14, 2)
    assert row.sets["t3"] != ""
    assert sum(why != "" for name, why in row.sets.items() if name[0] == "t") == 1


# -- lies --------------------------------------------------------------------------------------------------------------


def test_an_advert_of_one_class_is_of_another_round_to_the_next(tmp_path: Path) -> None:
    played = rig(tmp_path)
    row = played.play()
    masks = {name: played.masking_of(name, row.header) for name in ("s0", "t0", "h0")}
    digests = [masking.terms.header_digest for masking in masks.values()]
    assert len(set(digests)) == 3
    for name, masking in masks.items():
        advert = decode_stage(m.Advertise, played._machine(name, masking).advert.body)
        others = [other for other in digests if other != masking.terms.header_digest]
        assert all(unusable_adverts([(name, advert)], other) == {name: "header"} for other in others)
        assert unusable_adverts([(name, advert)], masking.terms.header_digest) == {}


class Turncoat(MaskedRig):
    """t0 is in a group of its tier; then it comes back as one of the standard tier, with an update of that length."""

    async def _upload(self, name: str, job: Job, masking: Masking, machine: ClientRound) -> None:
        if name != "t0":
            await super()._upload(name, job, masking, machine)
            return
        self.tiers = {other: place for other, place in self.tiers.items() if other != name}
        self._join(name)
        data = bytes(self.masking_of(name, job.header).upload_bytes)
        assert len(data) != masking.upload_bytes
        number = decode_header(job.header.body).round
        body = encode_statement(
            UpdateStatement("run-1", number, name, job.header.digest, content_digest(data), len(data), 0)
        )
        with pytest.raises(RemoteProtocolError) as refused:
            await self.ctx.intake.begin(name, Signed(body, identity(name).sign(UPDATE_DOMAIN, body), name))
        assert refused.value.reason == "class"
        self.ctx.state.round.masked.out.add(name)  # as `RoundEvents` does
        self.ctx.state.round.collection.refuse(name, "client-failed")
        self.ctx.state.wake()


def test_whoever_comes_back_as_another_class_is_held_to_its_advert(tmp_path: Path) -> None:
    names = [*STANDARD, *THIN, "t4"]
    played = rig(tmp_path, names=names, kind=Turncoat)
    row = played.play()
    assert row.sets == dict.fromkeys(names, "") | {"t0": "client-failed"}
