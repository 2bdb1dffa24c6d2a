"""What a client says after a training with a model of its own: no value and no name of what is its own is in it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from roughfed import params
from roughfed.client.round.statistics import client_values
from roughfed.client.trainer.model.tensors import spec_of
from roughfed.client.trainer.operations import Operations
from roughfed.client.trainer.state import load_state
from roughfed.models import build
from roughfed.secagg.statistics import ACCURACY_BUCKETS, KINDS
from roughfed.shared_tensors import shared_spec
from roughfed.trainer_client import evaluation_from
from roughfed.training import FitResult, StatePlace, Turn
from roughfed.types import Evaluation, Evaluations, UpdateStatement
from roughfed.wire.updates import decode_statement, encode_statement

HEAD = "fc3"
BUILTIN = {"data": {"name": "digits", "clients": 20, "index": 3, "seed": 0}, "model": {"name": "mlp"}}
MODEL = build("mlp", (1, 8, 8), 10, 0, 1)
WHOLE, SHARED = spec_of(MODEL), shared_spec(spec_of(MODEL), private=[f"{HEAD}.*"])


def model_file(path: Path) -> Path:
    """The shared part of a global model."""
    parts = MODEL.state_dict()
    params.write_model(path, SHARED, [parts[t.name].numpy().reshape(-1) for t in SHARED.tensors])
    return path


def two_rounds(folder: Path, method: str) -> tuple[Operations, dict[str, Any], FitResult, Turn]:
    """A client after two rounds; the arguments of the second one."""
    client = Operations.of(app=None, builtin=BUILTIN, device="cpu", report=lambda _: None)
    settings = {"method": method, "epochs": 2, "compare_alone": True}
    common = {"params": str(model_file(folder / "global.safetensors")), "settings": settings, "seed": 4}
    for number in (1, 2):
        turn = Turn(number, 9, "run", state=StatePlace(folder / "state", bytes(range(32))))
        arguments = {**common, "turn": turn.plain(), "delta": str(folder / "delta.f32")}
        result = FitResult(**client.run("fit", arguments))
    return client, arguments, result, turn


@pytest.mark.parametrize("method", ["plain", "fine-tune", "ditto", "adaptive-mixing", "fedrep"])
def test_no_value_and_no_name_of_what_is_a_clients_own_is_in_what_is_sent(tmp_path: Path, method: str) -> None:
    client, arguments, result, turn = two_rounds(tmp_path, method)
    after = {**arguments, "turn": Turn(3, 9, "run", state=turn.state).plain()}
    found = {name: evaluation_from(bytes(32), sums) for name, sums in client.run("compare", after).items()}
    assert set(found) == ({"alone"} if method == "plain" else {"personal", "alone"})
    said = UpdateStatement("run", 2, "c3", bytes(32), bytes(32), SHARED.size_bytes, result.num_examples)
    said = replace(said, metrics=result.metrics, personal=found.get("personal"), alone=found["alone"])
    statement = encode_statement(said)
    assert decode_statement(statement) == said

    sent = (tmp_path / "delta.f32").read_bytes() + statement
    assert len(sent) - len(statement) == SHARED.size_bytes
    state = load_state(Turn(3, run="run", state=turn.state), WHOLE.digest)
    assert set(state) >= {"private", "alone"}
    assert not any(name.encode() in statement for tensors in state.values() for name in tensors)
    on_disk = b"".join(path.read_bytes() for path in (tmp_path / "state").iterdir())
    for part, tensors in state.items():
        for name, tensor in tensors.items():
            trace = tensor.reshape(-1)[:3].numpy().tobytes()  # 12 bytes that no chance brings
            if tensor.numel() >= 3 and tensor.is_floating_point() and part != "adaptive-mixing":
                assert trace not in sent, (part, name)
                assert trace not in on_disk, (part, name)
    assert (
        MODEL.state_dict()[SHARED.tensors[0].name].reshape(-1)[:3].numpy().tobytes()
        in Path(arguments["params"]).read_bytes()
    )  # so a trace is found where there is one

    out = tmp_path / "own.safetensors"
    assert client.run("own", {**after, "out": str(out)})["parameters"] == WHOLE.size
    whole = params.unflatten(params.read_flat(out), WHOLE)
    if method == "ditto":
        assert all(torch.equal(torch.from_numpy(whole[name].copy()), v) for name, v in state["ditto"].items())
    elif method != "fine-tune":
        assert torch.equal(torch.from_numpy(whole[f"{HEAD}.bias"].copy()), state["private"][f"{HEAD}.bias"])


def evaluated(correct: int, of: int = 20) -> Evaluation:
    return Evaluation(bytes(32), of, 1.0, (of,), (correct,), confusion=(of,) if correct == of else ())


@pytest.mark.parametrize(
    ("base", "personal", "alone", "worse"),
    [(10, 18, 17, 0), (10, 16, 17, 1), (18, 2, 17, 0), (17, 17, 17, 0), (3, None, 17, 1), (18, None, 17, 0)],
)
def test_a_client_counts_as_worse_off_where_neither_of_its_models_reaches_the_lonely_one(
    base: int, personal: int | None, alone: int, worse: int
) -> None:
    about: Any = SimpleNamespace(class_counts=(20,))
    given: Any = SimpleNamespace(num_examples=60)
    found = Evaluations(evaluated(base), None if personal is None else evaluated(personal), evaluated(alone))
    values = client_values(about, found, given)
    assert values["worse-than-alone"] == (worse, 1)
    for name, correct in (("accuracy", base), ("personal", personal), ("alone", alone)):
        histogram = values.get(f"{name}-histogram")
        if correct is None:
            assert histogram is None
        else:
            assert histogram is not None
            assert list(histogram).index(1) == min(correct, ACCURACY_BUCKETS - 1)
            assert len(histogram) == ACCURACY_BUCKETS
            assert sum(histogram) == KINDS[f"{name}-histogram"].together == 1
    assert "worse-than-alone" not in client_values(about, Evaluations(evaluated(base)), given)
