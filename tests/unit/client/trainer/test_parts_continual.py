"""Memories, held against their laws and slow references."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from roughfed.client.trainer.examples.buffer_format import Form
from roughfed.client.trainer.examples.replay_buffer import ReplayBuffer, balanced, by_rank, mixed
from roughfed.client.trainer.memory.condensed import condense, matching
from roughfed.client.trainer.memory.herding import herd
from roughfed.client.trainer.parts import Tensors
from roughfed.client.trainer.training.compose import Method
from roughfed.methods import read_method
from tests.unit.client.trainer.parts_continual import C, arrays, context, net, train


class TestMemory:
    def test_every_example_is_as_likely_to_be_kept(self) -> None:
        """Chi-square over 200 memories: 60 ids come in uneven batches, some of them again and again; 12 are kept."""
        source, kept = arrays([0] * 60), np.zeros(60)
        for seed in range(200):
            memory = ReplayBuffer("reservoir", 12, context(source, seed=seed), order=by_rank)
            for at in (*torch.arange(60).split(23), torch.arange(25)):
                memory.add(source.gather(at), None)
            assert len(memory) == 12
            kept[memory.everything().ids.numpy()] += 1
        expected = 200 * 12 / 60
        chi_square = float(((kept - expected) ** 2 / expected).sum()) / (1 - 12 / 60)  # drawn without replacement
        assert abs(chi_square - 59) < 4 * math.sqrt(2 * 59)

    @settings(max_examples=40)
    @given(
        batches=st.lists(st.lists(st.integers(0, 39), min_size=1, max_size=9), min_size=1, max_size=12),
        size=st.integers(1, 25),
        order=st.sampled_from([by_rank, balanced]),
    )
    def test_what_is_kept_does_not_depend_on_order_or_repetition(
        self, batches: list[list[int]], size: int, order: object
    ) -> None:
        source = arrays([at % C for at in range(40)])
        offered = sorted({at for batch in batches for at in batch})

        def kept(stream: list[list[int]]) -> tuple[list[int], Tensors]:
            state: dict[str, Tensors] = {}
            memory = ReplayBuffer("m", size, context(source, state=state), order=order)  # pyright: ignore[reportArgumentType]
            for batch in stream:
                memory.add(source.gather(torch.tensor(batch)), None)
            return sorted(memory.everything().ids.tolist()), state["m"]

        ids, state = kept(batches)
        assert ids == sorted(set(ids))
        assert len(ids) == min(size, len(offered))
        assert ids == kept([offered[::-1]])[0]
        assert all(len(column) == len(ids) for name, column in state.items() if not name.startswith("_"))
        if order is balanced:
            available = np.bincount([at % C for at in offered], minlength=C)
            sizes = np.bincount([at % C for at in ids], minlength=C)
            assert all(sizes.max() - s <= 1 or s == a for s, a in zip(sizes, available, strict=True))

    def test_a_memory_draws_without_replacement_and_forgets_by_id(self) -> None:
        source = arrays([0, 1, 2, 3] * 5, first_id=100)
        memory = ReplayBuffer("m", 10, context(source), order=by_rank)
        memory.add(source.gather(torch.arange(20)), None)
        drawn = memory.draw(7)
        assert len(set(drawn.ids.tolist())) == 7
        assert drawn.at.tolist() == [-1] * 7
        assert sorted(memory.draw(99).ids.tolist()) == sorted(memory.everything().ids.tolist())
        gone = drawn.ids.tolist()[:3]
        assert memory.forget([*gone, 5]) == 3
        assert not set(gone) & set(memory.everything().ids.tolist())
        assert len(memory) == 7

    def test_only_the_first_epoch_is_offered_and_state_goes_on(self, tmp_path: Path) -> None:
        source, state = arrays([0, 1] * 12), {}
        train(net(), source, "er(batch=4)+reservoir(size=8)", tmp_path, state, epochs=3)
        first = state["reservoir"]["ids"].clone()
        train(net(), source, "er(batch=4)+reservoir(size=8)", tmp_path, state, round=2)
        assert torch.equal(state["reservoir"]["ids"], first)  # the same examples again: nothing changes

    def test_logits_are_those_of_the_step_in_which_an_example_came(self, tmp_path: Path) -> None:
        source, state, model = arrays([0, 1, 2, 3, 0, 1, 2, 3]), {}, net()
        with torch.no_grad():
            said = model(source.gather(torch.arange(8)).x)
        train(model, source, "der", tmp_path, state, epochs=1)
        kept = state["reservoir"]
        torch.testing.assert_close(kept["logits"].float(), said[kept["ids"]], atol=2e-3, rtol=2e-3)

    def test_mixed_images_get_logits_of_their_own(self) -> None:
        source = arrays([0, 1, 2, 3])
        around = context(source)
        method = Method(read_method("mixup+der++"), around)
        given = source.gather(torch.arange(4))
        _, outputs = method.step_value(method.transformed(given))
        method.call("after", outputs, given)
        with torch.no_grad():
            said = around.model(given.x)
        kept = around.state("reservoir")
        torch.testing.assert_close(kept["logits"].float(), said[kept["ids"]], atol=2e-3, rtol=2e-3)

    @given(seed=st.integers(0, 99), scale=st.floats(1e-3, 1e3))
    def test_bytes_lie_within_half_a_step(self, seed: int, scale: float) -> None:
        x = scale * torch.randn(3, 2, 5, 4, generator=torch.Generator().manual_seed(seed))
        columns = Form().pack(x)
        assert columns["x"].dtype == torch.uint8
        off = (Form().unpack(columns, x) - x).abs().flatten(1).max(dim=1).values
        assert (off <= (x.flatten(1).max(dim=1).values - x.flatten(1).min(dim=1).values) / 510 * 1.001).all()

    def test_pixels_of_a_standardised_image_come_back_as_they_were(self) -> None:
        pixels = torch.arange(256).reshape(1, 1, 16, 16)
        x = (pixels / 255 - 0.286) / 0.353
        back = Form().unpack(Form().pack(x), x)
        assert torch.equal(((back * 0.353 + 0.286) * 255).round().long(), pixels)

    @pytest.mark.parametrize("part", ["mosaic", "condensed"])
    def test_four_images_take_the_bytes_of_one(self, part: str, tmp_path: Path) -> None:
        source, state = arrays([0, 1] * 30), {}
        train(net(), source, f"er+{part}(size=10)", tmp_path, state, epochs=1)
        assert len(state[part]["y"]) == 40
        assert state[part]["x"].numel() * state[part]["x"].element_size() == 10 * 36

    def test_a_mosaic_holds_the_means_of_four_pixels(self) -> None:
        source = arrays([0, 1, 2])
        memory = ReplayBuffer("m", 5, context(source), order=by_rank, form=Form(halved=True))
        memory.add(source.gather(torch.arange(3)), None)
        held = memory.everything()
        whole = source.gather(held.ids).x
        assert held.x.shape == whole.shape
        means = whole.reshape(3, 1, 3, 2, 3, 2).mean(dim=(3, 5))
        stored = memory.state["x"].float() * memory.state["step"].reshape(-1, 1, 1, 1)
        torch.testing.assert_close(stored + memory.state["low"].reshape(-1, 1, 1, 1), means, atol=0.02, rtol=0)

    @settings(max_examples=30)
    @given(seed=st.integers(0, 500), count=st.integers(1, 12))
    def test_herding_is_the_greedy_choice(self, seed: int, count: int) -> None:
        features = torch.randn(10, 3, generator=torch.Generator().manual_seed(seed))
        unit = functional.normalize(features.double(), dim=1)
        slow: list[int] = []
        for _ in range(min(count, 10)):
            left = [i for i in range(10) if i not in slow]
            far = [float((unit.mean(0) - unit[[*slow, i]].mean(0)).norm()) for i in left]
            slow.append(left[int(np.argmin(far))])
        assert herd(features, count).tolist() == slow

    def test_herding_shares_its_places_between_the_classes(self, tmp_path: Path) -> None:
        state: dict[str, Tensors] = {}
        train(net(), arrays([0, 1] * 20), "er+herding(size=12)", tmp_path, state)
        assert torch.bincount(state["herding"]["y"]).tolist() == [6, 6]
        best = state["herding"]["ids"][state["herding"]["rank"] < 3]
        train(net(), arrays([2, 3] * 20, first_id=100), "er+herding(size=12)", tmp_path, state, round=2, task=1)
        assert torch.bincount(state["herding"]["y"]).tolist() == [3, 3, 3, 3]
        assert set(best.tolist()) <= set(state["herding"]["ids"].tolist())

    def test_condensing_brings_the_features_together(self) -> None:
        source = arrays([0] * 60)
        around = context(source)
        real = source.gather(torch.arange(60)).x
        small = functional.avg_pool2d(real[:4], 2)
        made = condense(around, real, small, steps=40, lr=1.0)

        @torch.no_grad()
        def far(images: torch.Tensor) -> float:
            return float(matching(around.model, C, real, functional.interpolate(images, (6, 6), mode="bilinear")))

        assert far(made) < 0.5 * far(small)

    def test_a_condensed_memory_forgets_what_was_made_of_an_example(self, tmp_path: Path) -> None:
        source, state = arrays([0, 1] * 10), {}
        around = context(source, state=state)
        method = Method(read_method("er+condensed(size=2,steps=1)"), around)
        method.call("end")
        memory = around.memory
        assert memory is not None
        assert memory.forget([0]) == 4  # of class 0, whether it is one of the four it began as or not
        assert memory.labels.tolist() == [1] * 4
        later = context(arrays([1] * 10, first_id=100), state=state)
        Method(read_method("er+condensed(size=2,steps=1)"), later).call("end")
        assert later.memory is not None
        assert later.memory.forget([1]) == 0  # its class was made anew, of others

    @given(key=st.integers(-(1 << 63), (1 << 63) - 1))
    def test_ranks_are_those_of_splitmix(self, key: int) -> None:
        z, most = (key + 0x9E3779B97F4A7C15) & (2**64 - 1), 2**64 - 1
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & most
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & most
        assert int(mixed(torch.tensor([key]))[0]) == (z ^ (z >> 31)) >> 1
