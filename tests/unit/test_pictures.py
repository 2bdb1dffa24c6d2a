"""The pictures of the documents are those that follow from the code, and what they show is true."""

from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np

from roughfed.deploy.pictures import protocol
from roughfed.deploy.pictures import round as one_round
from roughfed.secagg.client import State
from roughfed.secagg.server import Stage
from roughfed.server.masked.stages import FACTS
from roughfed.wire.secagg import CLIENT_STAGES, STAGE_VALUES

DOCS = Path(__file__).parents[2] / "docs"


def test_the_committed_pictures_are_what_the_code_gives() -> None:
    for name, draw in (("protocol", protocol.draw), ("round", one_round.draw)):
        committed = (DOCS / f"{name}.svg").read_text()
        assert committed == draw(), f"python -m roughfed.deploy.pictures.{name} > docs/{name}.svg"


def test_the_protocol_names_every_state_stage_message_and_fact() -> None:
    said = {(each.text or "").strip("()").removesuffix(", signed") for each in ET.fromstring(protocol.draw()).iter()}
    states = {state.name.lower() for state in State if state is not State.OUT}

    assert said >= states | {stage.name.lower() for stage in Stage}
    assert said >= {*CLIENT_STAGES, *STAGE_VALUES, *FACTS}


def test_the_numbers_of_the_round_are_masked_and_add_up() -> None:
    parties, sent, own = one_round.PARTIES, one_round.masked(), one_round.self_masks()
    kept = [at for at, party in enumerate(parties) if not party.hostile]
    everybody = (sent.sum(axis=0) - own.sum(axis=0)) % one_round.LANE

    np.testing.assert_array_equal(everybody, np.sum([p.codes for p in parties], axis=0) % one_round.LANE)
    assert not any(np.array_equal(row, party.codes % one_round.LANE) for row, party in zip(sent, parties, strict=True))
    np.testing.assert_array_equal(one_round.total(), np.sum([parties[at].codes for at in kept], axis=0))
