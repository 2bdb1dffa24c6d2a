"""Classifiers that the server finishes from sums: what is made of which sums, by the worker and around it."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from roughfed import params
from roughfed.client.trainer.calibrate import FINISHERS
from roughfed.client.trainer.calibrate.ccvr import covariance
from roughfed.client.trainer.calibrate.creff import EACH, matched
from roughfed.client.trainer.model.tensors import map_flat, pieces, spec_of
from roughfed.client.trainer.training.calibration import finish
from roughfed.client.trainer.training.classifier_sums import Classifier, CohortSums
from roughfed.config.federation import FederationConfig
from roughfed.digest import content_digest
from roughfed.errors import ConfigError
from roughfed.rng import derive
from roughfed.secagg.fixed_point import to_fixed, upper_triangle
from roughfed.secagg.statistics import add
from roughfed.server.extensions.calibration import Calibration, finishing_sums
from roughfed.server.model.calibrated import Calibrated, newest
from roughfed.server.storage.store import RoundRow, Store
from roughfed.types import Evaluation, RoundHeader, Signed, Spec, TensorSpec
from roughfed.wire.session import encode_header

C, WIDTH = 3, 4
OWNERS = (9, 9, 9)


def examples(counts: tuple[int, ...] = (400, 100, 20), seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Features of classes that lie apart, and labels."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.cat([torch.full((n,), c) for c, n in enumerate(counts)])
    centres = torch.eye(WIDTH)[:C] * 2.0
    return centres[y] + 0.8 * torch.randn(len(y), WIDTH, generator=generator), y


def feature_sums(z: torch.Tensor, y: torch.Tensor) -> dict[str, list[float]]:
    z = z.double()
    sums = [z[y == c].sum(dim=0) for c in range(C)]
    return {
        "feature-count": torch.bincount(y, minlength=C).double().tolist(),
        "feature-sum": torch.stack(sums).flatten().tolist(),
        "feature-outer": upper_triangle((z.T @ z).numpy()).tolist(),
    }


def given_of(sums: Mapping[str, Any], start: Classifier | None = None) -> CohortSums:
    start = start or Classifier(torch.zeros(C, WIDTH), torch.tensor([3.0, 1.0, -2.0]))
    return CohortSums(start, sums, torch.Generator().manual_seed(0), start)


def recall(classifier: Classifier) -> list[float]:
    z, y = examples((500, 500, 500), seed=9)
    hit = classifier(z).argmax(dim=1) == y
    return [float(hit[y == c].float().mean()) for c in range(C)]


def skewed() -> Classifier:
    """A classifier that hardly ever says the rare class."""
    return Classifier(torch.eye(WIDTH)[:C].clone(), torch.tensor([1.5, 0.0, -1.5]))


def test_ccvr_knows_the_covariance_within_classes() -> None:
    z, y = examples()
    given = given_of(feature_sums(z, y))
    mean = torch.stack([z[y == c].double().mean(dim=0) for c in range(C)])
    apart = z.double() - mean[y]
    want = apart.T @ apart / (len(y) - C)
    want = 0.9 * want + 0.1 * want.diagonal().mean() * torch.eye(WIDTH)
    found = covariance(given, torch.bincount(y).double(), mean)
    torch.testing.assert_close(found, want)


def test_ccvr_helps_rare_classes() -> None:
    before, after = recall(skewed()), recall(FINISHERS["ccvr"](given_of(feature_sums(*examples()), skewed())))
    assert after[2] > before[2] + 0.05
    assert np.mean(after) > np.mean(before)


def test_creff_matches_gradients_and_helps_rare_classes() -> None:
    z, y = examples()
    start = skewed()
    rows = []
    for c in range(C):
        error = start(z[y == c]).softmax(dim=1) - torch.eye(C)[c]
        rows.append(torch.cat([(error.T @ z[y == c] / (y == c).sum()).flatten(), error.mean(dim=0)]))
    flat = torch.stack(rows)
    given = given_of({"head-gradient": flat.flatten().tolist()}, start)
    for _ in range(3):  # the features are kept
        made = FINISHERS["creff"](given)
    weights, biases = flat[:, : C * WIDTH].reshape(C, C, WIDTH), flat[:, C * WIDTH :]
    features = given.kept["features"]
    error = start(features).softmax(dim=2) - torch.eye(C)[:, None, :]
    own = error.transpose(1, 2) @ features / EACH
    assert float(nn.functional.cosine_similarity(own, weights, dim=2).mean()) > 0.9
    still = matched(features, start, weights, biases, torch.zeros(C, dtype=torch.bool).logical_not())
    assert still.shape == features.shape
    assert np.mean(recall(made)) > np.mean(recall(start))


def test_post_hoc_takes_the_log_of_the_shares_off_the_biases() -> None:
    made = FINISHERS["post-hoc"](given_of({"class-count": [80, 15, 5]}))
    shift = given_of({}).classifier.bias - made.bias
    torch.testing.assert_close(shift - shift[0], torch.tensor([0.8, 0.15, 0.05]).log() - torch.tensor(0.8).log())


@pytest.mark.parametrize("how", FINISHERS)
def test_a_class_that_is_not_told_keeps_its_place(how: str) -> None:
    sums: dict[str, list[float]] = feature_sums(*examples((50, 50, 0)))
    gradient = torch.randn(C, C * WIDTH + C, generator=torch.Generator().manual_seed(2))
    gradient[2] = 0
    sums |= {"class-count": [50, 50, 0], "head-gradient": gradient.flatten().tolist()}
    start = skewed()
    made = FINISHERS[how](given_of(sums, start))
    torch.testing.assert_close(made.weight[2] / made.weight[2].norm(), start.weight[2])
    assert torch.isfinite(torch.tensor(made.flat())).all()
    nothing = {name: [0.0] * len(values) for name, values in sums.items()}
    assert FINISHERS[how](given_of(nothing, start)).weight.tolist() == start.weight.tolist()


def test_sums_of_another_model_are_refused() -> None:
    with pytest.raises(ConfigError, match="want"):
        FINISHERS["ccvr"](given_of({"feature-count": [1.0]}))
    with pytest.raises(ConfigError, match="no classifier"):
        Classifier.of([1.0], skewed())


def test_the_operation_changes_the_classifier_only_and_gives_the_same_again(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, WIDTH), nn.ReLU(), nn.Linear(WIDTH, C))
    spec, path = spec_of(net), tmp_path / "model.safetensors"
    params.write_model(path, spec, pieces(net))
    before = map_flat(path, spec).copy()
    gradient = torch.randn(C, C * WIDTH + C, generator=torch.Generator().manual_seed(1)).flatten().tolist()
    arguments = {"params": str(path), "base": "", "at": [], "how": "creff", "sums": {"head-gradient": gradient}}
    arguments |= {"seed": 4, "kept": "", "keep": str(tmp_path / "kept")}
    first = finish(net, C, arguments)
    after = np.concatenate(list(pieces(net)))
    assert (after[: 6 * WIDTH] == before[: 6 * WIDTH]).all()
    np.testing.assert_allclose(after[6 * WIDTH :], first, rtol=1e-6)
    assert finish(net, C, arguments) == first
    later = {**arguments, "kept": arguments["keep"], "keep": ""}
    assert finish(net, C, later) == finish(net, C, later) != first


# -- the server --------------------------------------------------------------------------------------------------------


def told(clients: int = 5) -> dict[str, tuple[int, ...]]:
    real = {"feature-sum": np.ones((C, WIDTH)), "feature-outer": np.ones(WIDTH * (WIDTH + 1) // 2)}
    one = {name: to_fixed(name, values) for name, values in real.items()} | {
        "feature-count": (2, 2, 2),
        "trained": (1,),
    }
    return add([one] * clients)


def test_sums_come_back_as_the_numbers_that_were_added() -> None:
    found = finishing_sums("ccvr", told(5), OWNERS)
    assert found["feature-count"] == [10.0, 10.0, 10.0]
    np.testing.assert_allclose(found["feature-sum"], 5.0)
    np.testing.assert_allclose(found["feature-outer"], 5.0)


def test_classes_of_few_clients_are_left_out_and_never_one_alone() -> None:
    found = finishing_sums("ccvr", told(5), (9, 3, 5))
    assert found["feature-count"] == [10.0, 0.0, 0.0]  # the one alone would follow from the rest
    assert found["feature-sum"][WIDTH:] == [0.0] * (2 * WIDTH)
    assert finishing_sums("ccvr", told(3), OWNERS) == {}
    assert finishing_sums("creff", told(5), OWNERS) == {}
    assert finishing_sums("post-hoc", {"class-count": (5, 5, 5)}, OWNERS) == {"class-count": [5.0, 5.0, 5.0]}
    assert finishing_sums("post-hoc", {"class-count": (5, 5, 5)}, ()) == {}
    assert derive(0, "calibrate", 1) != derive(0, "calibrate", 2)


class Maker:
    """A worker that writes down what it is asked, and a file; its first answer may be none."""

    def __init__(self, *, fails: int = 0) -> None:
        self.asked, self.fails = list[dict[str, Any]](), fails

    async def calibrate(
        self, params: Path, out: Path, given: Mapping[str, Any]
    ) -> tuple[bytes, tuple[float, ...]] | None:
        self.asked.append({**given, "params": params})
        if len(self.asked) <= self.fails:
            return None
        return self.made(out, Path(given["keep"])), (float(len(self.asked)),)

    def made(self, out: Path, keep: Path) -> bytes:
        out.write_bytes(bytes([len(self.asked)]))
        keep.write_bytes(b"features")
        return content_digest(out.read_bytes())

    async def evaluate(self, params: Path, *, model_digest: bytes) -> Evaluation:
        return Evaluation(model_digest, 10, 1.0, (5, 5), (4, 3))


async def played(store: Store, worker: Maker, how: str, rounds: int) -> list[Calibrated | None]:
    """Rounds that are committed one after the other, with what stands finished after each."""
    settings = {"trainer": {"calibrate": how}, "model": {"name": "mlp"}, "data": {"name": "digits"}}
    ctx: Any = SimpleNamespace(store=store, worker=worker, config=FederationConfig.model_validate(settings))
    extension = Calibration(ctx)
    await store.create_run("run", Spec((TensorSpec("w", (1,)),)), bytes(32), 0.0)
    gradient = to_fixed("head-gradient", np.ones(C * (C * WIDTH + C)))
    sums = add([{**one, "head-gradient": gradient} for one in [told(1)] * 5])
    counts = {f"c{at}": {"class-count": (1, 1, 1), "class-owner": (1, 1, 1)} for at in range(5)}
    seen = list[Calibrated | None]()
    for number in range(1, rounds + 1):
        header = RoundHeader(
            "run", number, bytes(32), number - 1, *[bytes(32)] * 2, "identity", "updates", bytes(32), 1.0
        )
        row = RoundRow(number, Signed(encode_header(header), b"", "server"), (), 5, 0.0, None, None, None)
        await store.open_round(row)
        await store.set_sets(number, {}, sums=sums, statics=counts)
        digest = content_digest(bytes([number]) * 9)
        store.model_path(digest).write_bytes(b"model")
        await store.commit(number, version=number, digest=digest, now=0.0)
        for _ in range(2):  # a restart does it again, and finds it done
            await extension.on_committed(row)
        seen.append(newest(store))
    for _ in range(2):
        await extension.on_last_round()
    return [*seen, newest(store)]


@pytest.mark.parametrize(("how", "versions"), [("ccvr", [None, None, 2]), ("creff", [1, 2, 2])])
def test_a_version_is_finished_once_when_it_is_due(tmp_path: Path, how: str, versions: list[int | None]) -> None:
    store, worker = Store(tmp_path), Maker()
    seen = asyncio.run(played(store, worker, how, 2))
    assert [found and found.version for found in seen] == versions
    assert len(worker.asked) == len({found.version for found in seen if found})
    last = seen[-1]
    assert last is not None
    assert last.evaluation is not None
    assert last.evaluation.balanced_accuracy == pytest.approx(0.7)
    assert store.model_path(last.digest).exists()
    assert last.digest not in dict(store.versions()).values()
    assert len(list((tmp_path / "models").glob("*.kept"))) == 1  # what older ones left is gone
    assert len(list((tmp_path / "models").glob("*.safetensors"))) == 3
    store.close()


def test_a_worker_that_fails_stops_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert asyncio.run(played(store, Maker(fails=9), "ccvr", 1)) == [None, None]
    store.close()
