"""A server that cheats: what its attacks work out of what they get, and how good that is said to be."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from roughfed.deploy.audit.active.attacks import ATTACKS
from roughfed.deploy.audit.active.attacks.beacon import COHORT, GROUP, search
from roughfed.deploy.audit.active.attacks.choice import Region
from roughfed.deploy.audit.active.result import AttackResult, Loot, cosine, error, to_json
from roughfed.deploy.audit.active.run import rebuild
from roughfed.deploy.audit.active.scene import model
from roughfed.deploy.audit.active.table import draw, verdict
from roughfed.deploy.audit.active.trainer import NUM_CLASSES, ONE_IMAGE, part_of, update_of
from roughfed.deploy.cli import app
from roughfed.secagg.groups import form_groups


def found(*, reached: float | None, succeeded: bool, refused: tuple[str, ...] = ()) -> AttackResult:
    return AttackResult("phantom", "says", "1 of 7", 1, "cosine", reached, 0.7, refused, succeeded)


@pytest.mark.parametrize(
    ("measure", "reached", "guess", "leaks"),
    [
        ("cosine", None, 0.7, False),
        ("cosine", 0.72, 0.7, False),
        ("cosine", 0.99, 0.7, True),
        ("error", None, 1.0, False),
        ("error", 0.97, 1.0, False),
        ("error", 0.1, 1.0, True),
    ],
)
def test_what_counts_as_a_leak(measure: str, reached: float | None, guess: float, leaks: bool) -> None:
    assert Loot(1, reached, guess, measure=measure).succeeded is leaks


def test_measures_of_all_and_of_nothing() -> None:
    truth, guess = np.array([1.0, 2.0, 3.0]), np.array([2.0, 2.0, 2.0])
    assert cosine(2 * truth, truth) == pytest.approx(1.0)
    assert cosine(np.zeros(3), truth) == 0.0
    assert error(truth, truth, guess) == 0.0
    assert error(guess, truth, guess) == 1.0


def test_the_one_image_behind_a_gradient_is_rebuilt_and_none_behind_noise() -> None:
    update = update_of(model(), part_of(0, ONE_IMAGE), ONE_IMAGE, 1)
    psnr, guess = rebuild(update)
    assert psnr > 40
    noise = np.random.default_rng(0).normal(size=len(update)).astype(np.float32)
    assert rebuild(noise)[0] < guess + 1


def test_label_shares_follow_from_which_of_sixteen_models_fits_best() -> None:
    truth = np.array([0.3, 0.25, 0.15, 0.1, 0.08, 0.05, 0.03, 0.02, 0.01, 0.01])
    region = Region()
    errors = [error(region.middle(), truth, np.full(NUM_CLASSES, 1 / NUM_CLASSES))]
    for number in range(1, 21):
        shares = region.candidates(number)
        region.learn(shares, int(np.argmax(np.log(shares) @ truth)), number)
        errors.append(error(region.middle(), truth, np.full(NUM_CLASSES, 1 / NUM_CLASSES)))
    assert errors[0] > 0.8
    assert errors[10] < 0.4
    assert errors[20] < 0.15


def test_a_beacon_is_found_that_forms_the_wanted_group() -> None:
    names = [f"client-{number}" for number in range(COHORT)]
    wanted = sorted(names[::3])
    assert len(wanted) == GROUP
    groups = form_groups(names, search(wanted, [name for name in names if name not in wanted]))
    assert tuple(wanted) in groups


def test_a_result_is_drawn_and_kept() -> None:
    leak, refused = found(reached=0.99, succeeded=True), found(reached=None, succeeded=False, refused=("policy",))
    assert [verdict(row) for row in (leak, refused, found(reached=0.7, succeeded=False))] == [
        "a leak",
        "refused",
        "as guessing",
    ]
    out = StringIO()
    Console(file=out, width=80).print(draw([leak, refused]))
    assert "0.990" in out.getvalue()
    assert "nothing" in out.getvalue()
    assert "…" not in out.getvalue()
    assert [row["reached"] for row in json.loads(to_json([leak, refused]))] == [0.99, None]


def test_the_table_of_the_longest_names_fits_a_terminal() -> None:
    rows = [
        AttackResult(
            a.name, a.says, a.needs, 24, "error", 0.5, 1.0, (), succeeded=True, psnr_db=100.0, psnr_guess_db=12.4
        )
        for a in ATTACKS.values()
    ]
    out = StringIO()
    Console(file=out, width=80).print(draw(rows))
    assert "…" not in out.getvalue()


def test_active_refuses_options_of_the_other_audit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run(["audit", "--active", "--images", "5", "--dir", str(tmp_path)]) == 2
    assert "--images" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
