"""The picture of the protocol is the one that follows from the tables."""

from pathlib import Path
from xml.etree import ElementTree as ET

from roughfed.deploy.picture import draw
from roughfed.secagg.client import State
from roughfed.secagg.server import Stage
from roughfed.server.masked.stages import FACTS
from roughfed.wire.secagg import CLIENT_STAGES, STAGE_VALUES

PICTURE = Path(__file__).parents[2] / "docs" / "protocol.svg"


def test_the_committed_picture_is_what_the_tables_give() -> None:
    assert PICTURE.read_text() == draw(), "python -m roughfed.deploy.picture > docs/protocol.svg"


def test_it_names_every_state_stage_message_and_fact() -> None:
    said = {(each.text or "").strip("()").removesuffix(", signed") for each in ET.fromstring(draw()).iter()}
    states = {state.name.lower() for state in State if state is not State.OUT}

    assert said >= states | {stage.name.lower() for stage in Stage}
    assert said >= {*CLIENT_STAGES, *STAGE_VALUES, *FACTS}
