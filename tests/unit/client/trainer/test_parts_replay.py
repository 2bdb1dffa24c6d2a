"""Replays, regularisers and isolation, held against slow references."""

from __future__ import annotations

import itertools
import logging
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from roughfed import params
from roughfed.client.trainer.isolate.packnet import PART, model_of_task
from roughfed.client.trainer.model.fisher import fisher
from roughfed.client.trainer.model.importance_penalty import pull, vector
from roughfed.client.trainer.model.tensors import pieces, spec_of
from roughfed.client.trainer.parts import Batch
from roughfed.client.trainer.regularize.lwf import distillation, held_classes
from roughfed.client.trainer.regularize.si import importance
from roughfed.client.trainer.replay.a_gem import project
from roughfed.client.trainer.replay.er_ace import among_present
from roughfed.client.trainer.replay.gem import dual, turned
from roughfed.client.trainer.settings import TrainerSettings
from roughfed.client.trainer.training.compose import Method
from roughfed.client.trainer.training.loop import Work, fit
from roughfed.errors import ConfigError
from roughfed.methods import read_method
from roughfed.training import Turn
from tests.unit.client.trainer.parts_continual import CPU, C, arrays, context, net, train


class TestReplay:
    def test_der_plus_plus_is_its_formula(self) -> None:
        """With a draw of everything, the value is L + alpha MSE(z, noted) + beta L(memory)."""
        source = arrays([0, 1, 2, 3, 0, 1])
        around = context(source)
        method = Method(read_method("der++(alpha=0.3,beta=0.7)"), around)
        given = source.gather(torch.arange(4))
        assert around.memory is not None
        around.memory.add(given, torch.randn(4, C, generator=torch.Generator().manual_seed(5)))
        past, now = around.memory.everything(), source.gather(torch.tensor([4, 5]))
        value, _ = method.step_value(now)
        assert past.logits is not None
        expected = (
            functional.cross_entropy(around.model(now.x), now.y)
            + 0.3 * functional.mse_loss(around.model(past.x), past.logits)
            + 0.7 * functional.cross_entropy(around.model(past.x), past.y)
        )
        torch.testing.assert_close(value, expected)

    def test_er_adds_the_mean_over_the_memory(self) -> None:
        source = arrays([0, 1, 2, 3, 0, 1])
        around = context(source)
        method = Method(read_method("er(weight=0.5)+gce(q=0.7)"), around)
        assert around.memory is not None
        around.memory.add(source.gather(torch.arange(4)), None)
        now, past = source.gather(torch.tensor([4, 5])), around.memory.everything()

        def gce(batch: Batch) -> torch.Tensor:
            p = around.model(batch.x).softmax(1).gather(1, batch.y[:, None])
            return ((1 - p**0.7) / 0.7).mean()

        torch.testing.assert_close(method.step_value(now)[0], gce(now) + 0.5 * gce(past))

    def test_er_ace_lets_new_examples_compete_among_themselves(self) -> None:
        logits = torch.tensor([[1.0, 5.0, 2.0, 9.0]], requires_grad=True)
        none = torch.zeros(1, dtype=torch.int64)
        masked = among_present(logits, Batch(none, torch.tensor([0]), none, none, other=torch.tensor([2])))
        loss = functional.cross_entropy(masked, torch.tensor([0]))
        torch.testing.assert_close(loss, torch.tensor(math.log(1 + math.e)))
        loss.backward()
        assert logits.grad is not None
        assert logits.grad[0, [1, 3]].tolist() == [0, 0]

    @given(seed=st.integers(0, 1000))
    def test_a_gem_turns_a_step_no_further_than_it_must(self, seed: int) -> None:
        g, r = torch.randn(2, 9, generator=torch.Generator().manual_seed(seed))
        out = project(g, r)
        assert float(out @ r) >= -1e-5
        if float(g @ r) >= 0:
            assert torch.equal(out, g)
        else:
            torch.testing.assert_close(out, g - (g @ r) / (r @ r) * r)
        assert torch.equal(project(g, torch.zeros(9)), g)

    @given(seed=st.integers(0, 1000), tasks=st.integers(1, 5), margin=st.sampled_from([0.0, 0.5]))
    def test_gem_turns_a_step_as_its_quadratic_programme_says(self, seed: int, tasks: int, margin: float) -> None:
        generator = torch.Generator().manual_seed(seed)
        g, rows = torch.randn(12, generator=generator), torch.randn(tasks, 12, generator=generator)
        out = turned(g, rows, margin)
        assert float((rows @ out).min()) >= -1e-3
        if float((rows @ g).min()) >= 0:
            assert torch.equal(out, g)
            return
        gram, along = (rows @ rows.T).double().numpy(), (rows @ g).double().numpy()
        best, value = np.zeros(tasks), math.inf
        for free in itertools.product([False, True], repeat=tasks):  # a slow reference: every active set
            chosen, v = np.array(free), np.full(tasks, margin)
            if chosen.any():
                rest = along[chosen] + gram[np.ix_(chosen, ~chosen)] @ v[~chosen]
                v[chosen] = np.linalg.solve(gram[np.ix_(chosen, chosen)], -rest)
            if (v >= margin - 1e-9).all() and (found := 0.5 * v @ gram @ v + along @ v) < value:
                best, value = v, found
        np.testing.assert_allclose(dual(gram, along, margin), best, atol=1e-3)

    def test_gem_bears_parallel_tasks(self) -> None:
        row = torch.tensor([1.0, 0.0, 2.0])
        out = turned(-row + torch.tensor([0.0, 3.0, 0.0]), torch.stack([row, row, 2 * row]), 0.0)
        torch.testing.assert_close(out, torch.tensor([0.0, 3.0, 0.0]), atol=1e-4, rtol=0)

    def test_the_agent_hears_which_part_a_forbidden_memory_stops(self, tmp_path: Path) -> None:
        """What the trainer answers is what the agent logs, and reports to the server (`client/job_runner.py`)."""
        from roughfed.client.trainer.faults import explain

        model, file = net(), tmp_path / "model.safetensors"
        params.write_model(file, spec_of(model), pieces(model))
        settings = TrainerSettings.parse({"method": "der++"})
        work = Work(file, tmp_path / "d", settings, 3, Turn(1, 2, allow_memory=False), C)
        with pytest.raises(ConfigError) as refused:
            fit(model, arrays([0, 1] * 4), work, report=lambda _: None)
        answer = explain(refused.value)
        assert answer["reason"] == "refused"
        assert "needs a rehearsal memory, which the client's policy must allow" in answer["message"]
        assert "[memory] allow = true" in answer["message"]
        assert not work.remembered

    def test_a_client_that_forbids_a_memory_is_told_which_part_wants_one(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        del caplog
        source = arrays([0, 1])
        for method in ("er", "der++", "balanced-softmax+mosaic"):
            from roughfed.client.trainer.training.choose import check

            with pytest.raises(ConfigError, match=r"needs a rehearsal memory.*\[memory\] allow = true"):
                check(read_method(method), context(source), allow_memory=False)
        check(read_method("ewc+lwf"), context(source), allow_memory=False)


class TestRegularize:
    @pytest.mark.parametrize("batch_norm", [False, True])
    def test_fisher_is_the_mean_of_squared_gradients_of_single_examples(self, batch_norm: bool) -> None:
        model, source = net(batch_norm=batch_norm).eval(), arrays([0, 1, 2, 3] * 10)
        batch = source.gather(torch.arange(40))
        slow = torch.zeros(sum(p.numel() for p in model.parameters()))
        for x, y in zip(batch.x, batch.y, strict=True):
            grads = torch.autograd.grad(functional.cross_entropy(model(x[None]), y[None]), list(model.parameters()))
            slow += vector(grads).square() / 40
        torch.testing.assert_close(fisher(model, batch.x, batch.y), slow, rtol=1e-4, atol=1e-8)

    def test_fisher_does_without_batching_where_an_operation_cannot_be(self) -> None:
        class Stubborn(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.linear = nn.Linear(3, C)

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                return self.linear(x) if float(x.sum()) > -1e9 else x  # a branch on data

        torch.manual_seed(0)
        model, x, y = Stubborn(), torch.randn(5, 3), torch.tensor([0, 1, 2, 3, 0])
        torch.testing.assert_close(fisher(model, x, y), fisher(nn.Sequential(model.linear), x, y))

    @given(strength=st.floats(0, 1e6))
    def test_a_pull_is_the_implicit_step_and_never_overshoots(self, strength: float) -> None:
        w, anchor = torch.tensor([3.0, -1.0]), torch.tensor([1.0, 1.0])
        pulled = w.clone()
        pull([pulled], anchor, torch.full((2,), strength))
        torch.testing.assert_close(pulled, (w + strength * anchor) / (1 + strength))

    @pytest.mark.parametrize("part", ["ewc(lambda=1000000)", "si(c=100000)"])
    def test_what_mattered_to_the_first_task_moves_less(self, part: str, tmp_path: Path) -> None:
        def forgotten(method: str) -> float:
            model, state = net(), {}
            first, second = arrays([0, 1] * 20), arrays([2, 3] * 20, first_id=100, seed=4)
            train(model, first, method, tmp_path, state, epochs=1)
            batch = first.gather(torch.arange(40))
            before = model(batch.x).detach()
            train(model, second, method, tmp_path, state, round=2, task=1, epochs=1)
            return float((model(batch.x).detach() - before).square().mean())

        assert forgotten(part) < 0.3 * forgotten("plain")

    def test_si_sums_what_each_step_did(self, tmp_path: Path) -> None:
        """omega = -sum g . dw, by hand over three plain steps; then Omega and the anchor at the next task."""
        source, state, model = arrays([0, 1, 2, 3] * 6), {}, net()
        twin, path = net(), torch.zeros(sum(p.numel() for p in net().parameters()))
        start = vector(list(twin.parameters()))
        file = tmp_path / "model.safetensors"
        params.write_model(file, spec_of(model), pieces(model))
        given = TrainerSettings.parse({"method": "si(xi=0.1)", "batch_size": 8, "lr": 0.1, "momentum": 0.0})
        work = Work(file, tmp_path / "d", given, 3, Turn(1, 2), C, task=0, remembered=state)
        fit(model, source, work, report=lambda _: None)
        from roughfed.rng import derive

        for batch in source.batches(8, derive(3, "shuffle", 0)):
            grads = torch.autograd.grad(functional.cross_entropy(twin(batch.x), batch.y), list(twin.parameters()))
            path += 0.1 * vector(grads).square()  # dw = -lr g
            with torch.no_grad():
                for p, g in zip(twin.parameters(), grads, strict=True):
                    p.sub_(0.1 * g)
        torch.testing.assert_close(state["si"]["path"], path, rtol=1e-3, atol=1e-6)
        end = vector(list(model.parameters()))
        train(model, source, "si(xi=0.1)", tmp_path, state, round=2, task=1)
        expected = importance(path, end - start, 0.1)
        torch.testing.assert_close(state["si"]["importance"], expected, rtol=1e-3, atol=1e-5)
        assert torch.equal(state["si"]["anchor"], end)

    def test_lwf_holds_the_classes_that_the_data_lack(self) -> None:
        held = held_classes(torch.tensor([0.0, 3.0, 0.0, 1.0]))
        assert held.tolist() == [True, False, True, False]
        assert held_classes(torch.ones(3)).all()
        assert held_classes(torch.tensor([0.0, 3, 1])).all()  # the softmax of one class says nothing

    @given(seed=st.integers(0, 200), temperature=st.sampled_from([1.0, 2.0, 5.0]))
    def test_lwf_has_the_gradient_of_its_formula(self, seed: int, temperature: float) -> None:
        """d/dz of T^2 KL(q || p) is T (p - q) / B."""
        now, then = torch.randn(2, 3, C, generator=torch.Generator().manual_seed(seed))
        now.requires_grad_(True)
        distillation(now, then, temperature).backward()
        p, q = (now / temperature).softmax(1), (then / temperature).softmax(1)
        torch.testing.assert_close(now.grad, temperature * (p - q).detach() / 3, rtol=1e-4, atol=1e-6)

    def test_lwf_learns_from_the_model_that_the_task_began_with(self, tmp_path: Path) -> None:
        state, model = {}, net()
        train(model, arrays([0, 1] * 8), "lwf", tmp_path, state)
        assert not [name for name in state["lwf"] if name.startswith("model.")]
        began = {name: t.clone() for name, t in model.state_dict().items()}
        for number in (2, 3):
            train(model, arrays([2, 3] * 8, first_id=50), "lwf", tmp_path, state, round=number, task=1)
            for name, tensor in began.items():
                assert torch.equal(state["lwf"][f"model.{name}"], tensor)


class TestPackNet:
    def test_an_earlier_task_keeps_its_weights_and_what_it_says_bit_for_bit(self, tmp_path: Path) -> None:
        state, model, method = {}, net(), "packnet(prune=0.5)"
        first, second = arrays([0, 1] * 16), arrays([2, 3] * 16, first_id=90, seed=6)
        train(model, first, method, tmp_path, state)
        batch = first.gather(torch.arange(32))
        owned = [(state[PART][str(at)] == 1).clone() for at in range(4)]
        weights = [p.detach().clone() for p in model.parameters()]
        said = model_of_task(model, state[PART], 0, C)(batch.x)[:, :2].detach()
        assert torch.equal(model(batch.x)[:, :2], said)  # what is free is zero
        for number in (2, 3):
            train(model, second, method, tmp_path, state, round=number, task=1)
            for p, before, mine in zip(model.parameters(), weights, owned, strict=True):
                assert torch.equal(p[mine], before[mine])
        assert torch.equal(model_of_task(model, state[PART], 0, C)(batch.x)[:, :2], said)
        assert not torch.equal(model(batch.x)[:, :2], said)

    def test_each_task_keeps_its_share_of_the_free_weights(self, tmp_path: Path) -> None:
        state, model = {}, net()
        for task, labels in enumerate(([0, 1], [2], [3])):
            train(model, arrays(labels * 10), "packnet(prune=0.5)", tmp_path, state, round=task + 1, task=task)
        owners = torch.bincount(state[PART]["0"].reshape(-1).long())
        assert owners.tolist() == [36, 144, 72, 36]  # of 8 x 36
        assert state[PART]["1"].unique().tolist() == [1]  # a bias
        assert state[PART]["3"].tolist() == [1, 1, 2, 3]  # of the head: the rows of a task's classes

    def test_a_stream_without_tasks_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="packnet needs a stream that says which task"):
            train(net(), arrays([0, 1]), "packnet", tmp_path, {}, task=-1)


def test_nothing_is_logged_of_the_examples(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    with caplog.at_level(logging.DEBUG):
        train(net(), arrays([0, 1] * 8), "der++", tmp_path, {})
    assert caplog.records == []


def test_arrays_of_a_stream_have_ids_by_content() -> None:
    """Numbered from 0 in every round, the examples of a second round would pass for those of the first."""
    from roughfed.client.trainer.examples.arriving import ArrivingExamples

    rng = np.random.default_rng(0)
    rounds = {n: (rng.normal(size=(6, 3)).astype(np.float32), np.arange(6) % C) for n in (1, 2)}

    class Stream:
        def at(self, number: int) -> object:
            return rounds[number]

    opened = ArrivingExamples(Stream(), CPU, torch.float32)
    ids: list[int] = []
    for number in (1, 2):
        source = opened.at(number).source
        assert source is not None
        ids += source.gather(torch.arange(6)).ids.tolist()
    assert len(set(ids)) == 12
    assert ArrivingExamples(rounds[1], CPU, torch.float32).at(1).source.gather(torch.arange(6)).ids.tolist() == list(
        range(6)
    )  # pyright: ignore[reportOptionalMemberAccess]
