"""Real clients tell sums of features or gradients, masked; the worker finishes the classifier; it is exported."""

from __future__ import annotations

from pathlib import Path

import pytest

from roughfed import models
from roughfed.config import ClientConfig, FederationConfig
from roughfed.config.template import render_template
from roughfed.deploy.cli.export import finished
from roughfed.deploy.demo.federations import Act
from roughfed.deploy.demo.folder import DemoPlace, furnish
from roughfed.deploy.demo.live_view import DemoScene
from roughfed.deploy.demo.running import Show, play
from roughfed.deploy.summary import open_store, run_summary
from roughfed.params import read_flat
from roughfed.server.model.calibrated import newest
from tests.bench.training.live import LiveOptions, Protocol, Unseen, _client, _server

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(400)]

CLIENTS, ROUNDS = 5, 3
DIGITS = Protocol(
    "digits", {"name": "digits", "partition": "dirichlet", "alpha": 10.0, "clients": CLIENTS}, {"name": "mlp"}, {}, {}
)
DIGITS = Protocol(DIGITS.about, DIGITS.data, DIGITS.model, {}, {}, clients=CLIENTS, rounds=ROUNDS)


@pytest.mark.parametrize("server_sees", ["sums", "updates"])
def test_a_finished_classifier_stands_beside_the_model(tmp_path: Path, server_sees: str) -> None:
    options = LiveOptions("", server_sees=server_sees)
    names = [f"client-{number:02d}" for number in range(1, CLIENTS + 1)]
    data = {**DIGITS.data, "seed": 0}
    clients = {name: render_template(ClientConfig, _client(data, DIGITS, at)) for at, name in enumerate(names)}
    place, shows = DemoPlace(tmp_path), list[Show]()
    for number, how in enumerate(("ccvr", "creff", "post-hoc")):
        server = {**_server(DIGITS, options, rounds=ROUNDS, seed=0), "trainer.calibrate": how}
        fed, starts = render_template(FederationConfig, server), names if number == 0 else ()
        act = Act("live", "", ROUNDS, fed, clients, starts=starts)
        own = place if number == 0 else place.act(how)
        furnish(own, act.fed, act.clients if number == 0 else {})
        scene = DemoScene("", str(tmp_path), dict.fromkeys(names, 0), ROUNDS, server_sees=server_sees)
        shows.append(Show(act, own, scene, Unseen()))
    play(shows, place)
    trunk = sum(p.numel() for p in models.build("mlp", (1, 8, 8), 10, 0).parameters()) - 10 * 201
    for how, show in zip(("ccvr", "creff", "post-hoc"), shows, strict=True):
        summary = run_summary(show.place.server)
        store = open_store(show.place.server)
        made = newest(store)
        assert made is not None, how
        assert (made.how, made.version) == (how, ROUNDS)
        assert summary.calibrated is not None
        assert summary.calibrated.balanced_accuracy is not None
        assert summary.rounds[-1].balanced_accuracy is not None
        if how != "creff":  # which needs more than three rounds
            assert summary.calibrated.balanced_accuracy > summary.rounds[-1].balanced_accuracy - 0.1
        _, digest = finished(store, "latest")
        model, calibrated = (read_flat(store.model_path(d)) for d in (store.latest_model()[1], digest))
        assert (model[:trunk] == calibrated[:trunk]).all()
        assert (model[trunk:] != calibrated[trunk:]).any()
        facts = store.rounds()[-1].facts
        assert ("head" in facts) == (how == "creff")
        store.close()
