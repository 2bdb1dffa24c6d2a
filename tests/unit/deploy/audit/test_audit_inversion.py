"""Gradient inversion finds what is to be found, and no more."""

from __future__ import annotations

import secrets
from pathlib import Path

import numpy as np
import pytest
import torch

from roughfed.data.fashion_mnist import DEBIAN_FOLDER, find_folder
from roughfed.deploy.audit.options import AuditOptions, warning
from roughfed.deploy.audit.trials import Inversion, TrialTally, attacks_of, run_trials
from roughfed.deploy.audit.victim import make_victim, open_data
from roughfed.errors import ConfigError


def inversions(options: AuditOptions) -> dict[tuple[str, int, str], Inversion]:
    data, knowledge = open_data(options.source, options.data_dir, options.seed)
    tally = TrialTally()
    assert sum(1 for _ in run_trials(options, data, knowledge, tally, entropy=secrets.token_bytes)) == len(
        attacks_of(options)
    )
    return {(row.mode, row.batch, row.prior): row for row in tally.inversions()}


@pytest.fixture(scope="module")
def few() -> dict[tuple[str, int, str], Inversion]:
    """Digits: 64 unknowns an image, so sketches of 8 are an eighth of them, as 128 are nearly a sixth of 784."""
    return inversions(AuditOptions(data="digits", model="mlp", dim=8, group=4, images=3, steps=20))


def test_the_gradient_is_that_of_finite_differences() -> None:
    data, _ = open_data("digits", None, 0)
    victim = make_victim("logistic", data, 0)
    images, labels = torch.from_numpy(data.x[:3]), torch.from_numpy(data.labels[:3])
    gradient = victim.gradient(images, labels)
    named = [p.detach() for p in victim.parameters()]

    def loss() -> float:
        scores = images.reshape(3, -1).double() @ named[0].double().T + named[1].double()
        return torch.nn.functional.cross_entropy(scores, labels).item()

    for at in (0, 100, 639, 640, 649):
        tensor, place = (named[0], at) if at < 640 else (named[1], at - 640)
        flat = tensor.view(-1)
        before = flat[place].item()
        flat[place] = before + 1e-2
        above = loss()
        flat[place] = before - 1e-2
        below = loss()
        flat[place] = before
        assert gradient[at].item() == pytest.approx((above - below) / 2e-2, abs=1e-4)


def test_the_attackers_gradient_of_the_gradient_is_right() -> None:
    """What L-BFGS descends: d/dx |g(x) - seen|^2, against finite differences."""
    data, _ = open_data("digits", None, 0)
    victim = make_victim("mlp", data, 0)
    labels = torch.from_numpy(data.labels[:1])
    seen = victim.gradient(torch.from_numpy(data.x[1:2]), labels).detach()

    def misfit(image: torch.Tensor) -> torch.Tensor:
        return (victim.gradient(image, labels) - seen).square().sum()

    image = torch.from_numpy(data.x[:1]).clone().requires_grad_(True)
    (slope,) = torch.autograd.grad(misfit(image), image)
    direction = slope / slope.norm()
    step = 1e-3
    above, below = (misfit(image.detach() + sign * step * direction).item() for sign in (1, -1))
    assert (above - below) / (2 * step) == pytest.approx(slope.norm().item(), rel=0.02)


def test_an_update_of_one_image_gives_it_away(few: dict[tuple[str, int, str], Inversion]) -> None:
    assert few["updates", 1, "smooth"].psnr_db > 60
    assert few["updates, coded", 1, "smooth"].gain_db > 10


def test_a_small_sketch_says_no_more_than_a_guess(few: dict[tuple[str, int, str], Inversion]) -> None:
    for batch in (1, 8):
        assert few["one sketch", batch, "smooth"].gain_db <= 1.0


def test_a_sketch_with_as_many_numbers_as_unknowns_leaks_and_there_is_a_warning() -> None:
    """64 pixels, 128 numbers, one dense layer: the honest figure is that the image is given away."""
    options = AuditOptions(data="digits", model="logistic", dim=128, group=8, images=1, steps=60)
    assert inversions(options)["one sketch", 1, "smooth"].gain_db > 5
    assert "64 unknowns" in warning(128, 64)
    assert warning(128, 784) == ""


def test_what_cannot_be_audited_is_refused() -> None:
    with pytest.raises(ConfigError, match="sketch of 7"):
        AuditOptions(dim=7)
    with pytest.raises(ConfigError, match="group of 3"):
        AuditOptions(group=3)
    with pytest.raises(ConfigError, match="cannot be audited"):
        open_data("words", None, 0)


def test_the_source_is_fashion_mnist_where_its_files_are(tmp_path: Path) -> None:
    assert AuditOptions(data_dir=tmp_path).source == "fashion-mnist"
    assert AuditOptions(data="digits").source == "digits"


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(find_folder([DEBIAN_FOLDER]) is None, reason="needs Fashion-MNIST: dataset-fashion-mnist")
def test_the_claim_about_sketches_holds_for_fashion_mnist() -> None:
    """784 unknowns, 128 numbers: updates give the image away, a sketch does not.

    With thousands of such images an attacker does a little better from the sketch of one image than from the mean of
    its class alone (1.7 dB in the median of ten trials); with a batch of eight it does not.
    """
    found = inversions(AuditOptions(data="fashion-mnist", images=3))

    assert found["updates", 1, "smooth"].gain_db > 30
    assert found["updates", 8, "smooth"].gain_db > 3
    for batch in (1, 8):
        assert found["one sketch", batch, "smooth"].gain_db <= 1.0
    assert found["one sketch", 8, "learned"].gain_db <= 1.0
    assert found["one sketch", 1, "learned"].gain_db <= 3.0
    assert np.isfinite([row.psnr_db for row in found.values()]).all()
