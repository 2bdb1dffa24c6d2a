"""The same simulation with actors of a Ray cluster gives the same model, to the bit."""

from dataclasses import replace
from pathlib import Path

import pytest

from roughfed.deploy.simulate.options import SimulateOptions
from roughfed.deploy.simulate.run import simulate

from .test_simulate import APP

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(300)]

OPTIONS = SimulateOptions(clients=12, cohort=6, rounds=2, settings={"trainer.method": "der++"}, scenario="continual")
"""With a memory: what a trainer keeps between rounds travels, too."""


@pytest.mark.filterwarnings("ignore::FutureWarning")  # Ray's own, about its environment
def test_a_cluster_trains_the_same_model() -> None:
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'roughfed[ray]'")
    assert simulate(replace(OPTIONS, ray="local")).model_digest == simulate(OPTIONS).model_digest


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_cluster_trains_an_own_app_likewise(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'roughfed[ray]'")
    (tmp_path / "of_many.py").write_text(APP)
    own = SimulateOptions(clients=8, cohort=5, rounds=2, app=f"{tmp_path / 'of_many.py'}:client")
    assert simulate(replace(own, ray="local")).model_digest == simulate(own).model_digest
