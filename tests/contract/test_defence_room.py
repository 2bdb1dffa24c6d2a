"""Laws of the room `server/defence`: whoever is listed keeps them, in every view that its row says it can judge."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roughfed.errors import LocalProtocolError, TooFewClients
from roughfed.server.aggregate.robust import combined
from roughfed.server.defence import (
    PREVIOUS,
    ROOT,
    RULES,
    Rows,
    Situation,
    Verdict,
    View,
    view_of_arrays,
    view_of_claims,
    view_of_files,
)
from roughfed.server.defence.memory import pack, unpack
from roughfed.server.defence.verdict import Coefficients, Coordinatewise, State
from roughfed.server.defence.view import reader

CASES = [pytest.param(name, kind, id=f"{name}-{kind}") for name, rule in RULES.items() for kind in rule.sees]
WHOLE = [case for case in CASES if case.values[1] != "sketches"]
GUARDS = [name for name in RULES if name != "none"]
SIZE = 48

cases, whole = pytest.mark.parametrize(("name", "kind"), CASES), pytest.mark.parametrize(("name", "kind"), WHOLE)
seeds, few = st.integers(0, 2**32 - 1), settings(max_examples=6)

Vectors = Mapping[str, np.ndarray]


def frozen(vectors: Vectors) -> dict[str, np.ndarray]:
    """Float32 copies that nobody can write to."""
    out = {name: vector.astype(np.float32) for name, vector in vectors.items()}
    for vector in out.values():
        vector.setflags(write=False)
    return out


@dataclass(frozen=True, slots=True)
class Round:
    """Rows of a round, with the server's own, as a rule is shown them.

    Attributes:
        rows: float32 [SIZE] by name.
        extras: likewise; only those that the rule wants or needs are shown.
        f: attackers to tolerate.
        state: from the round before.
    """

    rows: Vectors
    extras: Vectors = field(default_factory=dict)
    f: int = 0
    state: State = field(default_factory=dict)
    number: int = 1

    def shown(self, name: str) -> dict[str, np.ndarray]:
        return {extra: self.extras[extra] for extra in RULES[name].wants | RULES[name].needs}

    def view(self, name: str, kind: Rows) -> View:
        if kind != "sketches":
            return view_of_arrays(self.rows, kind=kind, extras=self.shown(name))
        claims = [{key: row.astype(np.float64) for key, row in of.items()} for of in (self.rows, self.shown(name))]
        return view_of_claims(claims[0], length=SIZE, norm_unit=1.0, extras=claims[1])

    def judged(self, name: str, kind: Rows) -> Verdict:
        situation = Situation(self.f, self.number, seed=5, state=self.state)
        return RULES[name].judge(self.view(name, kind), situation)

    def aggregate(self, name: str, kind: Rows) -> np.ndarray:
        """What becomes of the rows, float32 [SIZE]."""
        verdict = self.judged(name, kind)
        if verdict.combine is None:
            kept = [self.rows[key] for key in sorted(self.rows) if key not in verdict.excluded]
            return np.mean(kept, axis=0, dtype=np.float64).astype(np.float32)
        fills = {key: reader(row) for key, row in (*self.rows.items(), *self.shown(name).items())}
        return combined(verdict.combine, fills)(0, SIZE)


def round_of(seed: int, n: int, f: int, *, hostile: str = "against", far: float = 3.0, noise: float = 0.5) -> Round:
    """n rows around a common direction, the first f of them hostile; the server's own rows lie there too."""
    rng = np.random.default_rng(seed)
    common = rng.normal(size=SIZE)
    rows = common + noise * rng.normal(size=(n, SIZE))
    for row in rows[:f]:
        row[:] = {"against": -far * row, "anywhere": far * rng.normal(size=SIZE)}[hostile]
    extras = {ROOT: common + noise * rng.normal(size=SIZE), PREVIOUS: common + noise * rng.normal(size=SIZE)}
    return Round(frozen({f"c{at:02}": row for at, row in enumerate(rows)}), frozen(extras), f)


def enough(name: str, seed: int, f: int) -> int:
    """A number of rows with which the rule, and the plan, let f attackers be tolerated."""
    return max(RULES[name].min_rows(f), 2 * f + 1, 5) + seed % 4


def changed(before: Round, **values: object) -> Round:
    """The same round but for some fields."""
    fields = {key: getattr(before, key) for key in ("rows", "extras", "f", "state", "number")}
    return Round(**(fields | values))  # type: ignore[arg-type]


def same(one: Verdict, other: Verdict) -> bool:
    """Equal bit for bit, in the order in which they were said."""
    said = [
        (list(v.excluded.items()), list(v.scores.items()), getattr(v.combine, "by_name", None), pack(v.state))
        for v in (one, other)
    ]
    return said[0] == said[1]


@cases
@few
@given(seed=seeds, f=st.integers(0, 3))
def test_a_verdict_is_well_formed(name: str, kind: Rows, seed: int, f: int) -> None:
    held = round_of(seed, enough(name, seed, f), f)
    verdict = held.judged(name, kind)
    assert verdict.excluded.keys() < held.rows.keys()
    assert all(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", why) and len(why) <= 24 for why in verdict.excluded.values())
    assert verdict.scores.keys() in (set(), held.rows.keys())
    assert all(type(score) is float and np.isfinite(score) for score in verdict.scores.values())
    assert all(array.dtype == np.float64 and np.isfinite(array).all() for array in verdict.state.values())
    assert RULES[name].remembers or not verdict.state
    counted = held.rows.keys() - verdict.excluded.keys()
    match verdict.combine:
        case Coefficients(by_name):
            assert {key for key, weight in by_name.items() if weight} <= counted | held.shown(name).keys()
            assert all(np.isfinite(weight) for weight in by_name.values())
        case Coordinatewise(rows):
            assert list(rows) == sorted(counted)
        case None:
            pass


@cases
@pytest.mark.parametrize("f", [1, 2])
def test_a_rule_gives_what_its_row_says(name: str, kind: Rows, f: int) -> None:
    how = round_of(f, enough(name, f, f), f).judged(name, kind).combine
    kinds = {"choice": type(None), "weights": Coefficients, "coordinates": Coordinatewise}
    assert type(how) is (type(None) if kind == "sketches" else kinds[RULES[name].gives])


@cases
@few
@given(seed=seeds, f=st.integers(0, 3), data=st.data())
def test_the_order_of_arrival_changes_no_bit(name: str, kind: Rows, seed: int, f: int, data: st.DataObject) -> None:
    held = round_of(seed, enough(name, seed, f), f)
    arrived = changed(held, rows={key: held.rows[key] for key in data.draw(st.permutations(sorted(held.rows)))})
    assert same(arrived.judged(name, kind), held.judged(name, kind))
    assert kind == "sketches" or arrived.aggregate(name, kind).tobytes() == held.aggregate(name, kind).tobytes()


@cases
@few
@given(seed=seeds, f=st.integers(0, 3), data=st.data())
def test_nobody_is_judged_by_its_name(name: str, kind: Rows, seed: int, f: int, data: st.DataObject) -> None:
    """Rows of random numbers have no ties, which names decide; where two go by one another alone, they have."""
    f = 3 if name == "bulyan" else f  # its last pick goes by f - 1 neighbours
    held = round_of(seed, enough(name, seed, f), f)
    new = dict(zip(sorted(held.rows), data.draw(st.permutations(sorted(held.rows))), strict=True))
    renamed = changed(held, rows={new[key]: row for key, row in held.rows.items()})
    before, after = held.judged(name, kind), renamed.judged(name, kind)
    assert after.excluded == {new[key]: why for key, why in before.excluded.items()}
    for key, score in before.scores.items():
        assert after.scores[new[key]] == pytest.approx(score, rel=1e-5, abs=1e-5)
    if kind != "sketches":
        np.testing.assert_allclose(renamed.aggregate(name, kind), held.aggregate(name, kind), rtol=1e-4, atol=1e-5)


@cases
@few
@given(seed=seeds, f=st.integers(0, 3), power=st.integers(-10, 10))
def test_another_unit_changes_no_verdict(name: str, kind: Rows, seed: int, f: int, power: int) -> None:
    """A power of two, so that no rounding differs either."""
    held = round_of(seed, enough(name, seed, f), f)
    rows, extras = ({k: row * np.float32(2.0**power) for k, row in of.items()} for of in (held.rows, held.extras))
    scaled = changed(held, rows=rows, extras=extras)
    assert scaled.judged(name, kind).excluded == held.judged(name, kind).excluded
    if kind != "sketches":
        expected = held.aggregate(name, kind) * np.float32(2.0**power)
        np.testing.assert_allclose(scaled.aggregate(name, kind), expected, rtol=1e-5, atol=1e-5 * 2.0**power)


@pytest.mark.parametrize(("name", "kind"), [case for case in CASES if RULES[str(case.values[0])].translates])
@few
@given(seed=seeds, f=st.integers(0, 3))
def test_what_all_rows_share_comes_out_in_the_aggregate(name: str, kind: Rows, seed: int, f: int) -> None:
    held = round_of(seed, enough(name, seed, f), f)
    shift = 5 * np.random.default_rng(seed).normal(size=SIZE).astype(np.float32)
    rows, extras = ({key: row + shift for key, row in of.items()} for of in (held.rows, held.extras))
    moved = changed(held, rows=rows, extras=extras)
    assert moved.judged(name, kind).excluded == held.judged(name, kind).excluded
    if kind != "sketches":
        expected = held.aggregate(name, kind) + shift
        np.testing.assert_allclose(moved.aggregate(name, kind), expected, rtol=1e-3, atol=1e-3)


@cases
@few
@given(seed=seeds, n=st.integers(1, 9))
def test_where_nobody_is_suspected_the_aggregate_is_the_mean(name: str, kind: Rows, seed: int, n: int) -> None:
    held = changed(round_of(seed, n, n // 3), f=0)
    assert held.judged(name, kind).excluded == {}
    if kind != "sketches" and name != "median":  # which is no mean, whoever is suspected
        mean = np.mean(list(held.rows.values()), axis=0)
        np.testing.assert_allclose(held.aggregate(name, kind), mean, rtol=1e-4, atol=1e-5)


@cases
@pytest.mark.parametrize("f", [0, 1, 2, 5])
def test_too_few_rows_void_the_round(name: str, kind: Rows, f: int) -> None:
    needed = RULES[name].min_rows(f)
    assert needed > f or name == "none"
    round_of(f, needed, 0).judged(name, kind)
    changed(round_of(f, needed, 0), f=f).judged(name, kind)
    if needed > 1:
        with pytest.raises(TooFewClients) as caught:
            changed(round_of(f, needed - 1, 0), f=f).judged(name, kind)
        assert (caught.value.needed, caught.value.got) == (needed, needed - 1)


@cases
@few
@given(seed=seeds, f=st.integers(0, 3))
def test_a_restart_judges_alike(name: str, kind: Rows, seed: int, f: int) -> None:
    """The state goes through the journal, and is not written to; clients come and go."""
    n = enough(name, seed, f) + 1
    verdict = round_of(seed, n, f).judged(name, kind)
    for number in range(2, 5):
        state = dict(verdict.state)
        for array in state.values():
            array.setflags(write=False)
        data = pack(state)
        restored = unpack(data)
        now = round_of(seed + number, n, f)
        there = {key: row for key, row in now.rows.items() if key != f"c{number:02}"}
        now = changed(now, rows=there, number=number)
        verdict = changed(now, state=state).judged(name, kind)
        assert same(verdict, changed(now, state=restored).judged(name, kind))
        assert same(verdict, changed(now, state=state).judged(name, kind))
        assert pack(state) == data


@pytest.mark.parametrize("name", [name for name, rule in RULES.items() if rule.remembers])
def test_a_rule_that_remembers_has_something_to_remember(name: str) -> None:
    assert round_of(1, 7, 1).judged(name, "updates").state


BLIND = {
    ("foolsgold", "against"),  # it is against sybils alone, and takes honest clients that agree for them
    ("foolsgold", "anywhere"),
    ("dnc", "anywhere"),  # it looks along one direction: of attackers in several, some are hidden by the others
}


@whole
@pytest.mark.parametrize("hostile", ["against", "anywhere"])
def test_gross_attackers_do_not_move_the_aggregate(name: str, kind: Rows, hostile: str) -> None:
    """Farther away they achieve nothing more, where a rule is against such; "none" shows that they could."""
    f, apart = 3, []
    for far in (30.0, 3e4):
        held = round_of(11, enough(name, 2, f), f, hostile=hostile, far=far)
        honest = np.mean(list(held.rows.values())[f:], axis=0)
        apart.append(float(np.linalg.norm(held.aggregate(name, kind) - honest) / np.linalg.norm(honest)))
    if name == "none":
        assert min(apart) > 2
    elif (name, hostile) not in BLIND:
        assert max(apart) < 0.75
        assert apart[1] < apart[0] + 0.1


@pytest.mark.parametrize("name", [name for name in GUARDS if "sketches" in RULES[name].sees])
def test_of_sketches_those_far_away_are_left_out(name: str) -> None:
    held = round_of(3, enough(name, 2, 3), 3, far=30.0)
    assert held.judged(name, "sketches").excluded.keys() >= {"c00", "c01", "c02"}


@cases
def test_the_servers_own_rows_are_missed_only_where_they_are_needed(name: str, kind: Rows) -> None:
    held, rule = round_of(4, enough(name, 1, 1), 1), RULES[name]
    needed = {extra: held.extras[extra] for extra in rule.needs}
    RULES[name].judge(view_of_arrays(held.rows, kind=kind, extras=needed), Situation(1))
    if needed:
        with pytest.raises(LocalProtocolError, match="no extra row"):
            rule.judge(view_of_arrays(held.rows, kind=kind), Situation(1))


@pytest.mark.parametrize("name", [name for name, rule in RULES.items() if "updates" in rule.sees])
def test_rows_in_files_and_rows_in_memory_are_judged_alike(name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    held, folder = round_of(7, enough(name, 3, 2), 2), tmp_path_factory.mktemp("spool")
    paths = {key: folder / key for key in (*held.rows, *held.shown(name))}
    for key, path in paths.items():
        path.write_bytes((held.rows | held.extras)[key].astype("<f4").tobytes())
    own = {key: paths.pop(key) for key in held.shown(name)}
    filed = RULES[name].judge(view_of_files(paths, size=SIZE, extras=own), Situation(2, seed=5))
    assert same(filed, held.judged(name, "updates"))
