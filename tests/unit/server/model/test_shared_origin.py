"""How a run begins whose clients keep tensors to themselves, or whose control variates travel."""

from __future__ import annotations

import asyncio
import logging
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from roughfed.config.federation import FederationConfig
from roughfed.deploy.synthetic import SyntheticOrigin
from roughfed.errors import ConfigError
from roughfed.params import read_flat, write_model
from roughfed.server.model.run_setup import open_run
from roughfed.server.storage.store import Store
from roughfed.trainer_client import Description
from roughfed.types import Spec, TensorSpec

SPEC = Spec((TensorSpec("a", (2,)), TensorSpec("bn.weight", (3,)), TensorSpec("head", (2, 2))))


class Three(SyntheticOrigin):
    """Ones, twos and so on."""

    def __init__(self) -> None:
        super().__init__(SPEC.size)

    async def describe(self) -> Description:
        return replace(await super().describe(), spec=SPEC)

    async def initial(self, path: Path, *, seed: int) -> bytes:
        del seed
        return write_model(path, SPEC, [np.arange(1, SPEC.size + 1, dtype=np.float32)])


@dataclass
class Scene:
    """A server's directory."""

    folder: Path

    def start(
        self, *, private: tuple[str, ...] = (), method: str = "plain", init: str = ""
    ) -> tuple[Spec, list[float]]:
        """What travels, and version 0."""
        tables = {"model": {"private": list(private), "init": init}, "trainer": {"method": method}}
        config = FederationConfig.model_validate(tables)
        with closing(Store(self.folder / "state")) as store:
            _, spec = asyncio.run(open_run(store, Three(), config))
            return spec, read_flat(store.model_path(store.latest_model()[1])).tolist()


def test_private_tensors_are_in_no_version_and_the_server_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        spec, values = Scene(tmp_path).start(private=("bn.*",))
    assert [t.name for t in spec.tensors] == ["a", "head"]
    assert values == [1.0, 2.0, 6.0, 7.0, 8.0, 9.0]
    assert "1 tensors stay with the clients; the server does not evaluate" in caplog.text


def test_control_variates_begin_at_zero_behind_what_is_shared(tmp_path: Path) -> None:
    spec, values = Scene(tmp_path).start(private=("bn.*",), method="scaffold")
    assert [t.name for t in spec.tensors] == ["a", "head", "control/a", "control/head"]
    assert values == [1.0, 2.0, 6.0, 7.0, 8.0, 9.0, *[0.0] * 6]


@pytest.mark.parametrize("whole", [True, False])
def test_given_weights_may_have_private_tensors_and_have_no_control_variates(whole: bool, tmp_path: Path) -> None:
    given = {"a": np.array([5, 6], dtype=np.float32), "head": np.ones((2, 2), dtype=np.float32)}
    if whole:
        given["bn.weight"] = np.zeros(3, dtype=np.float32)
    save_file(given, tmp_path / "given.safetensors")
    scene, init = Scene(tmp_path), str(tmp_path / "given.safetensors")
    spec, values = scene.start(private=("bn.*",), method="scaffold", init=init)
    assert values == [5.0, 6.0, 1.0, 1.0, 1.0, 1.0, *[0.0] * 6]
    assert scene.start(private=("bn.*",), method="scaffold", init=init) == (spec, values)


CHANGES = {
    "private": ({"private": ("bn.*",)}, {}),
    "another pattern": ({"private": ("bn.*",)}, {"private": ("head",)}),
    "scaffold": ({}, {"method": "scaffold"}),
    "no scaffold": ({"method": "scaffold"}, {"method": "fedprox"}),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_run_keeps_sharing_what_it_began_with(change: str, tmp_path: Path) -> None:
    before, after = CHANGES[change]
    scene = Scene(tmp_path)
    scene.start(**before)
    with pytest.raises(ConfigError, match=r"shares other tensors than the run in this directory .*model\.private"):
        scene.start(**after)
    scene.start(**before)


@pytest.mark.parametrize(("pattern", "why"), [("*norm*", "matches no tensor"), ("*", "leave no parameter")])
def test_patterns_of_nothing_or_everything_stop_the_start(pattern: str, why: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=why) as caught:
        Scene(tmp_path).start(private=(pattern,))
    assert (caught.value.key, "a, bn.weight, head" in caught.value.cure) == ("model.private", True)
    with closing(Store(tmp_path / "state")) as store:
        assert store.run() is None
