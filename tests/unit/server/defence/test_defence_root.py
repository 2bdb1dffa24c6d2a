"""The server's own examples: how many of each class, which ones, and that none of them is evaluated on."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader, TensorDataset

from roughfed.client.trainer.evaluation.held_out import at_hand, counts, hold_out
from roughfed.client.trainer.examples.batches import open_source
from roughfed.client.trainer.operations import Operations
from roughfed.codec.chain import encode
from roughfed.codec.plan import ChainParams, plan_lanes
from roughfed.errors import ConfigError
from roughfed.masked_round import code_rms, sketch_of_update
from roughfed.server.defence import ROUNDING, view_of_claims
from roughfed.server.model.trainer_process import ServerTrainer
from roughfed.server.round.updates.reference_updates import shares
from roughfed.sketch.buckets import Sketcher, bucket_sizes
from roughfed.training import Turn

CPU = torch.device("cpu")
SETTINGS = {"lr": 0.1, "batch_size": 8}


# -- how many ----------------------------------------------------------------------------------------------------------


@given(have=st.lists(st.integers(0, 60), min_size=1, max_size=12), root=st.integers(1, 80))
def test_shares_are_even_and_leave_something_of_each_class_or_are_refused(have: list[int], root: int) -> None:
    present = [count for count in have if count]
    even = sorted(root // len(present) + (at < root % len(present)) for at in range(len(present))) if present else []
    lacking = not present or root < len(present) or any(count <= root // len(present) for count in present)
    try:
        taken = shares(have, root)
    except ConfigError:
        assert lacking or any(count <= even[-1] for count in present)
        return
    assert not lacking
    assert sum(taken) == root
    assert sorted(number for number in taken if number) == even
    assert all(number < count for number, count in zip(taken, have, strict=True) if count)
    assert all(number == 0 for number, count in zip(taken, have, strict=True) if not count)


@pytest.mark.parametrize(
    ("have", "root", "cause", "cure"),
    [
        ([0], 100, "no data of its own", "give the Client"),
        ([5, 5, 5], 2, "too few for 3 classes", "write 3 or more"),
        ([40, 9, 40], 30, "9 examples of class 1", "write 24 or less"),
        ([100], 100, "100 examples: 100 of them", "write 99 or less"),
        ([40, 1, 40], 30, "1 examples of class 1", "give the server more data"),
    ],
)
def test_refusals_say_how_many_would_do(have: list[int], root: int, cause: str, cure: str) -> None:
    with pytest.raises(ConfigError, match=cause) as caught:
        shares(have, root)
    assert cure in caught.value.cure
    if cure.startswith("write"):
        assert sum(shares(have, int(cure.split()[1]))) == int(cure.split()[1])


# -- which ones --------------------------------------------------------------------------------------------------------


def labelled(n: int = 90) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.arange(n, dtype=torch.float32)[:, None] + torch.tensor([0.0, 0.5]), torch.arange(n) % 3


def contents(source: Any) -> list[float]:
    return sorted(float(x) for batch, _ in source.epoch(7, None) for x in batch[:, 0])


@pytest.mark.parametrize("kind", ["arrays", "dataset", "loader", "shuffled"])
def test_the_parts_are_disjoint_balanced_and_always_the_same(kind: str) -> None:
    x, y = labelled()
    given: Any = (x, y)
    if kind == "dataset":
        given = [(a, int(b)) for a, b in zip(x, y, strict=True)]
    elif kind != "arrays":
        given = DataLoader(TensorDataset(x, y), batch_size=16, shuffle=kind == "shuffled")

    def parts(seed: int) -> Any:
        source = at_hand(open_source(given, CPU, torch.float32), CPU)
        assert counts(source, 3) == [30, 30, 30]
        return hold_out(source, (4, 5, 6), seed=seed, device=CPU)

    first, again, other = parts(1), parts(1), parts(2)
    assert contents(first.root) == contents(again.root) != contents(other.root)
    assert sorted(contents(first.root) + contents(first.rest)) == x[:, 0].tolist()
    assert counts(first.root, 3) == [4, 5, 6]


def test_without_classes_they_are_drawn_from_all() -> None:
    source = at_hand(open_source((torch.rand(50, 2), torch.rand(50)), CPU, torch.float32), CPU)
    assert counts(source, 0) == [50]
    parts = hold_out(source, (20,), seed=0, device=CPU)
    assert (parts.root.num_examples, parts.rest.num_examples) == (20, 30)


# -- the trainer beside the server -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trainer(tmp_path_factory: pytest.TempPathFactory) -> tuple[Operations, Path]:
    builtin = {"data": {"name": "digits", "seed": 3}, "model": {"name": "mlp"}}
    operations = Operations.of(app=None, builtin=builtin, device="cpu", report=lambda _: None)
    base = tmp_path_factory.mktemp("root") / "base.safetensors"
    operations.run("initial", {"path": str(base), "seed": 1})
    return operations, base


def fit(operations: Operations, base: Path, *, steps: int, seed: int = 5) -> tuple[dict[str, Any], np.ndarray]:
    delta = base.with_name("delta")
    request = {"params": str(base), "delta": str(delta), "settings": SETTINGS, "seed": seed, "steps": steps}
    return operations.run("fit-root", {**request, "turn": Turn(1).plain()}), np.fromfile(delta, "<f4")


def test_the_update_is_made_of_what_is_no_longer_evaluated_on(trainer: tuple[Operations, Path]) -> None:
    operations, base = trainer
    have = operations.run("root-counts", {})["counts"]
    whole = operations.run("evaluate", {"params": str(base), "turn": None})
    assert sum(have) == whole["num_examples"]
    with pytest.raises(ConfigError, match="set aside"):
        fit(operations, base, steps=0)
    taken = shares(have, 40)
    assert operations.run("hold-out", {"take": taken, "seed": 9}) == {"root": 40, "rest": sum(have) - 40}
    rest = operations.run("evaluate", {"params": str(base), "turn": None})
    assert rest["class_count"] == tuple(n - k for n, k in zip(have, taken, strict=True))

    told, update = fit(operations, base, steps=0)
    assert (told["num_examples"], told["num_steps"]) == (40, 5)
    assert np.isfinite(update).all()
    assert update.any()
    np.testing.assert_array_equal(fit(operations, base, steps=0)[1], update)
    assert (fit(operations, base, steps=0, seed=6)[1] != update).any()
    longer = [fit(operations, base, steps=steps) for steps in (1, 5, 23)]
    assert [told["num_steps"] for told, _ in longer] == [1, 5, 23]
    lengths = [float(np.linalg.norm(update)) for _, update in longer]
    assert lengths == sorted(lengths)


class Child:
    """A trainer process that notes what it is asked, and is another one after `stop`."""

    def __init__(self) -> None:
        self.number, self.asked = 0, list[tuple[int, str]]()

    async def ready(self) -> Any:
        if not self.asked or self.asked[-1][1] == "stop":
            self.number += 1
            self.running = Running(self, self.number)
        return self.running

    async def stop(self) -> None:
        self.asked.append((self.number, "stop"))


class Running:
    def __init__(self, child: Child, number: int) -> None:
        self.child, self.number = child, number

    async def call(self, op: str, **arguments: object) -> dict[str, Any]:
        self.child.asked.append((self.number, op))
        return {"counts": [7, 8]}


def test_a_new_process_is_told_again_what_was_set_aside() -> None:
    worker, child = ServerTrainer([], Path("worker.log")), Child()
    worker._child = child  # pyright: ignore[reportAttributeAccessIssue]

    async def play() -> None:
        assert await worker.root_counts() == (7, 8)
        worker.hold_out((3, 3), seed=1)
        for _ in range(2):
            await worker.fit_root(Path("p"), Path("d"), settings={}, seed=1, turn=Turn(1), steps=0)
        await worker.stop()
        await worker.fit_root(Path("p"), Path("d"), settings={}, seed=1, turn=Turn(1), steps=0)

    asyncio.run(play())
    first = [(1, "root-counts"), (1, "hold-out"), (1, "fit-root"), (1, "fit-root"), (1, "stop")]
    assert child.asked == [*first, (2, "hold-out"), (2, "fit-root")]


# -- behind masks ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("length", "seen"), [(0.5, 0.5), (1.0, 1.0), (40.0, 1.0)])
def test_its_sketch_says_what_a_clients_would(length: float, seen: float) -> None:
    """The same direction and, up to the clip, the same length; its own dither is no reason to look different."""
    size, dim, clip = 1 << 14, 256, 3.0
    params = ChainParams(size, plan_lanes(16), clip, bytes(32))
    rms = code_rms(params.lanes)
    sizes = bucket_sizes(params.sent, dim, bits=params.lanes.bits, code_rms=rms, colluders=3)
    lanes = params.lanes
    sketcher = Sketcher(b"s" * 32, params.sent, dim, sizes=sizes, dtype=lanes.dtype, zero=lanes.zero)
    own = np.random.default_rng(0).normal(size=size).astype(np.float32)
    own *= np.float32(length * clip / np.linalg.norm(own))
    before = own.copy()
    claims = {
        name: sketcher.claim(sketcher.of_codes(encode(update, None, params, secret=bytes([at]) * 32).codes))
        for at, (name, update) in enumerate({"like": own, "against": -own}.items(), 1)
    }
    claim = sketch_of_update(own, params, sketcher)
    np.testing.assert_array_equal(own, before)
    np.testing.assert_array_equal(claim, sketch_of_update(own, params, sketcher))
    unit = rms * params.sent**0.5
    view = view_of_claims(claims, length=params.sent, norm_unit=unit, rounding=ROUNDING, extras={"*root": claim})
    along, sq_norm = view.against("*root")
    assert sq_norm**0.5 == pytest.approx(seen, rel=0.15)
    cosines = along / np.sqrt(view.gram().diagonal() * sq_norm)
    np.testing.assert_allclose(cosines, [-1.0, 1.0], atol=0.1)
