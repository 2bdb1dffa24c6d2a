"""The same simulation with actors of a Ray cluster gives the same model, to the bit."""

from dataclasses import replace

import pytest

from roughfed.deploy.simulate.options import SimulateOptions
from roughfed.deploy.simulate.run import simulate

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(300)]

OPTIONS = SimulateOptions(clients=12, cohort=6, rounds=2, settings={"trainer.method": "der++"}, scenario="continual")
"""With a memory: what a trainer keeps between rounds travels, too."""


@pytest.mark.filterwarnings("ignore::FutureWarning")  # Ray's own, about its environment
def test_a_cluster_trains_the_same_model() -> None:
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'roughfed[ray]'")
    assert simulate(replace(OPTIONS, ray="local")).model_digest == simulate(OPTIONS).model_digest
