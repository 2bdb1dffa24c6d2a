"""Free-riders of every kind show within three rounds, and nobody honest does, whoever else has the same one class."""

from collections.abc import Mapping

import numpy as np
import pytest

from roughfed.params import Flat
from roughfed.server.defence import PREVIOUS, passes, view_of_arrays, view_of_claims
from roughfed.server.defence.passes import MARK_RUN, MARK_RUNS, READ_WHOLE, marked
from roughfed.server.defence.verdict import State
from roughfed.server.defence.view import reader
from roughfed.server.extensions.free_riders.detection import COPY, NOISE, OWN, STEP, ZERO, FreeRiderFinding
from roughfed.server.extensions.free_riders.extension import MARKS, SEED, look

D, ROUNDS, ROUNDING = 3000, 50, 1 / 6
HONEST = [f"h{i:02}" for i in range(12)]
TWINS = ["t0", "t1"]
"""Two clients with one class, and nothing but that: 0.995 alike, and 0.998 to what each sent before."""

ALONE = "u0"
"""A client with a class that nobody else has: it agrees with nobody, but with itself."""

RIDERS = {"z0": ZERO, "z1": NOISE, "z2": STEP, "z3": OWN, "z4": COPY}


class Crowd:
    """Seeded updates: a common part, a part of each client's own that stays, and noise of local steps."""

    def __init__(self, seed: int, *, copier: bool = True) -> None:
        self._copier = copier
        self._rng = np.random.default_rng(seed)
        self._own = {name: self._direction() for name in HONEST}
        self._tail, self._alone = self._direction(), self._direction()
        self._old = self._direction()
        self.before: Flat | None = None
        self.step: Flat | None = None

    def _direction(self, length: float = 1.0) -> Flat:
        values = self._rng.standard_normal(D)
        return (values * length / np.linalg.norm(values)).astype(np.float32)

    def round(self, number: int) -> dict[str, Flat]:
        common = self._direction(0.5)
        length = {name: self._rng.uniform(0.3, 2.0) for name in HONEST}
        sent = {name: length[name] * (common + 0.6 * self._own[name] + self._direction(0.7)) for name in HONEST}
        for name, size in zip(TWINS, (0.9, 1.3), strict=True):
            sent[name] = size * (self._tail + self._direction(0.06))
        sent[ALONE] = self._alone + self._direction(0.4)
        sent["z0"] = np.zeros(D, dtype=np.float32)
        sent["z1"] = self._direction(0.5)
        sent["z2"] = np.zeros(D, dtype=np.float32) if self.step is None else self.step.copy()
        sent["z3"] = self._old if number > 1 else self._old + 0.0
        if self._copier:
            sent["z4"] = 1.0 * sent[HONEST[0]]
        self.before, self.step = self.step, np.mean(list(sent.values()), axis=0).astype(np.float32)
        return {name: values.astype(np.float32) for name, values in sent.items()}


def first_flags(found: list[FreeRiderFinding]) -> dict[str, tuple[int, str]]:
    first: dict[str, tuple[int, str]] = {}
    for number, one in enumerate(found, start=1):
        for name, kind in one.flags.items():
            first.setdefault(name, (number, kind))
    return first


def play(seed: int, rounds: int = ROUNDS, *, copier_first: bool = False) -> list[FreeRiderFinding]:
    crowd, found = Crowd(seed), list[FreeRiderFinding]()
    state: State = {SEED: np.array([7.0])}
    for number in range(1, rounds + 1):
        sent = crowd.round(number)
        extras = {} if crowd.before is None else {PREVIOUS: crowd.before}
        view = view_of_arrays(sent, kind="updates", extras=extras)
        order = {name: place for place, name in enumerate(sorted(sent, reverse=copier_first))}
        places = np.array([order[name] for name in view.names])
        marks = marked([reader(sent[name]) for name in view.names], D, MARKS, int(state[SEED][0]))
        one, state = look(view, marks, places, state, number)
        found.append(one)
    return found


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))])
def test_every_kind_shows_within_three_rounds_and_nobody_honest_in_fifty(seed: int) -> None:
    found = play(seed)
    first = first_flags(found)
    assert first.keys() == RIDERS.keys()
    assert all(number <= 3 for number, _ in first.values())
    assert found[-1].flags == RIDERS
    assert found[-1].twins == {"z4": HONEST[0]}


def test_of_two_equal_updates_the_later_one_is_the_copy() -> None:
    first = first_flags(play(0, 4, copier_first=True))
    assert first[HONEST[0]] == (2, COPY)
    assert "z4" not in first


def test_whoever_trains_again_is_soon_clear() -> None:
    crowd = Crowd(1)
    state: State = {SEED: np.array([7.0])}
    flagged: list[bool] = []
    for number in range(1, 13):
        sent = crowd.round(number)
        if number > 4:
            sent["z4"] = crowd.round(number)[HONEST[1]]
        view = view_of_arrays(sent, kind="updates")
        marks = marked([reader(sent[name]) for name in view.names], D, MARKS, 7)
        one, state = look(view, marks, np.arange(len(view)), state, number)
        flagged.append("z4" in one.flags)
    assert flagged == [False, *[True] * 4, *[False] * 7]


def test_the_state_is_as_large_as_its_clients_and_no_larger() -> None:
    crowd, state = Crowd(2), {SEED: np.array([7.0])}
    for number in range(1, 25):
        sent = crowd.round(number)
        view = view_of_arrays(sent, kind="updates")
        _, state = look(view, marked([reader(sent[n]) for n in view.names], D, MARKS, 7), np.arange(20), state, number)
    assert sum(value.nbytes for value in state.values()) <= 20 * 8 * 8 * (MARKS + 2)


class Alike:
    """Clients with like data that take small steps: everybody goes the same way, round after round."""

    def __init__(self, turn: float) -> None:
        """`turn`: how far from its own last update each is."""
        self._rng, self._turn = np.random.default_rng(4), turn
        self._common, *self._own = (self._direction() for _ in range(9))
        self.step: Flat | None = None

    def _direction(self) -> Flat:
        values = self._rng.standard_normal(D)
        return (values / np.linalg.norm(values)).astype(np.float32)

    def round(self) -> tuple[dict[str, Flat], dict[str, Flat]]:
        rows = [self._common + 0.2 * own + self._turn * self._direction() for own in self._own]
        sent = {f"h{at}": row.astype(np.float32) for at, row in enumerate(rows)}
        extras = {} if self.step is None else {PREVIOUS: self.step}
        self.step = np.mean(rows, axis=0).astype(np.float32)
        return sent, extras


@pytest.mark.parametrize("turn", [0.2, 0.004])
def test_where_everybody_goes_the_way_of_the_last_step_only_who_sends_it_back_shows(turn: float) -> None:
    crowd, found = Alike(turn), list[FreeRiderFinding]()
    state: State = {SEED: np.array([7.0])}
    for number in range(1, 13):
        sent, extras = crowd.round()
        sent["z2"] = extras.get(PREVIOUS, np.zeros(D, dtype=np.float32))
        sent["z3"] = crowd._own[0]  # pyright: ignore[reportPrivateUsage]
        view = view_of_arrays(sent, kind="updates", extras=extras)
        marks = marked([reader(sent[name]) for name in view.names], D, MARKS, 7)
        one, state = look(view, marks, np.arange(len(view)), state, number)
        found.append(one)
    assert all(one.flags.keys() <= {"z2", "z3"} for one in found)
    assert found[3].flags == {"z2": STEP, "z3": OWN}


def test_marks_of_a_large_row_are_of_a_sample_of_it() -> None:
    size = 2 * READ_WHOLE
    row, read = np.random.default_rng(0).standard_normal(size).astype(np.float32), list[int]()

    def fill(start: int, into: Flat) -> None:
        read.append(len(into))
        into[:] = row[start : start + len(into)]

    marks = marked([fill, reader(row), reader(2 * row), reader(row[::-1])], size, MARKS, 3)
    assert sum(read) <= MARK_RUNS * MARK_RUN
    np.testing.assert_array_equal(marks[0], marks[1])
    np.testing.assert_array_equal(marks[0] * 2, marks[2])
    assert abs(np.corrcoef(marks[0], marks[3])[0, 1]) < 0.9


def test_marks_are_the_same_however_the_row_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    size = 4 * MARK_RUNS * MARK_RUN
    rows = [reader(np.random.default_rng(seed).standard_normal(size).astype(np.float32)) for seed in range(3)]
    whole = marked(rows, size, MARKS, 3)
    monkeypatch.setattr(passes, "READ_WHOLE", 0)
    np.testing.assert_array_equal(marked(rows, size, MARKS, 3), whole)


# -- sketches ----------------------------------------------------------------------------------------------------------


def claims(rows: Mapping[str, Flat], seed: int, *, roundings: int = 2, dim: int = 128) -> dict[str, np.ndarray]:
    """What sketches of a round say: a projection of its own, and the rounding of codes, of which a zero has none."""
    projection = np.random.default_rng([9, seed]).standard_normal((dim, D)) / D**0.5
    noise = {name: np.random.default_rng([*name.encode(), seed]).standard_normal(dim) for name in rows}
    spread = (roundings * ROUNDING) ** 0.5
    return {name: projection @ (row * D**0.5) + spread * noise[name] * row.any() for name, row in rows.items()}


def test_behind_masks_zeros_and_replayed_steps_show_and_nobody_honest_does() -> None:
    crowd, found = Crowd(0, copier=False), list[FreeRiderFinding]()
    state: State = {SEED: np.array([7.0])}
    for number in range(1, ROUNDS + 1):
        sent = crowd.round(number)
        own = claims({} if crowd.before is None else {PREVIOUS: crowd.before}, number, roundings=1)
        view = view_of_claims(claims(sent, number), length=D, norm_unit=D**0.5, rounding=ROUNDING, extras=own)
        one, state = look(view, None, np.arange(len(view)), state, number)
        found.append(one)
    first = first_flags(found)
    assert first.keys() == {"z0", "z2"}
    assert first["z0"] == (2, ZERO)
    assert first["z2"][1] == STEP


def test_behind_masks_nobody_is_told_where_everybody_goes_the_way_of_the_last_step() -> None:
    crowd, state = Alike(0.2), {SEED: np.array([7.0])}
    for number in range(1, 21):
        sent, extras = crowd.round()
        own = claims(extras, number, roundings=1)
        view = view_of_claims(claims(sent, number), length=D, norm_unit=D**0.5, rounding=ROUNDING, extras=own)
        one, state = look(view, None, np.arange(len(view)), state, number)
        assert one.flags == {}
