"""shared/methods: a method is one line, and what cannot stand together is refused with the reason."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roughfed.config.trainer import TrainerSettings
from roughfed.errors import ConfigError
from roughfed.methods import NEEDS, PARTS, PRESETS, ROOMS, Composition, Value, missing, read_method, write_table
from roughfed.methods.row import Option


def value_of(option: Option, data: st.DataObject) -> Value:
    """Any value that the option may have."""
    if isinstance(option.default, bool):
        return data.draw(st.booleans())
    if isinstance(option.default, str):
        return data.draw(st.sampled_from(option.choices or (option.default,)))
    low = option.low if option.low is not None else -1e3
    high = option.high if option.high is not None else max(1e3, low)
    if isinstance(option.default, int):
        return data.draw(st.integers(int(low), int(high)))
    return data.draw(st.floats(low, high, allow_nan=False))


def read_or_refusal(text: str) -> Composition | ConfigError:
    try:
        return read_method(text)
    except ConfigError as error:
        return error


@given(name=st.sampled_from(sorted(PARTS)), data=st.data())
def test_a_line_reads_as_what_it_was_written_from(name: str, data: st.DataObject) -> None:
    options = {key: value_of(option, data) for key, option in PARTS[name].options.items() if data.draw(st.booleans())}
    line = write_table({name: options})
    read = read_method(line)
    assert read_method(str(read)) == read
    (chosen,) = (part for part in read.parts if part.name == name)
    assert {key: chosen.options[key] for key in options} == options


@given(names=st.lists(st.sampled_from(sorted(PARTS)), min_size=1, max_size=4))
def test_a_composition_is_refused_with_a_cure_or_reads_in_the_order_of_the_rooms(names: list[str]) -> None:
    read = read_or_refusal("+".join(names))
    if isinstance(read, ConfigError):
        assert read.key == "trainer.method"
        assert read.cure
        return
    rooms = [ROOMS.index(part.row.room) for part in read.parts]
    assert rooms == sorted(rooms)
    assert set(names) <= {part.name for part in read.parts}
    assert len(names) == len(set(names))
    assert read_method(str(read)) == read


@given(text=st.text(max_size=60))
def test_any_other_text_is_refused_in_words(text: str) -> None:
    read = read_or_refusal(text)
    assert not isinstance(read, ConfigError) or read.key == "trainer.method"


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_reads_and_is_no_part(name: str) -> None:
    assert read_method(name).parts
    assert name not in PARTS


def test_a_name_may_end_in_two_plus_signs() -> None:
    assert next(part.name for part in read_method("der+++cross-entropy").parts) == "cross-entropy"
    assert str(read_method("cross-entropy+der++(alpha=0.3)")) == "cross-entropy+reservoir+der++(alpha=0.3)"


def test_what_a_part_brings_gives_way_to_what_is_named() -> None:
    assert "reservoir" in read_method("er")
    assert "reservoir" not in read_method("er+class-balanced-memory")


def test_a_table_of_toml_means_the_same_line() -> None:
    table = tomllib.loads('method = { balanced-softmax = { tau = 1.5 }, "der++" = { alpha = 0.3 } }')
    assert TrainerSettings.model_validate(table).method == str(
        read_method("balanced-softmax(tau=1.5)+der++(alpha=0.3)")
    )


@pytest.mark.parametrize(
    ("text", "say"),
    [
        ("balanced-softmx", "no part"),
        ("gce+", "cannot read|no part"),
        ("gce(q)", "no option of gce"),
        ("gce(p=1)", "no option 'p'"),
        ("gce(q=much)", "not a number"),
        ("gce(q=nan)", "out of range"),
        ("gce(q=7)", "out of range"),
        ("gce(q=0.5, q=0.6)", "q twice"),
        ("reservoir(size=" + "9" * 400 + ")", "out of range"),
        ("forward-correction(flips=0 6)", "no option's value"),
        ("fedprox(mu=1e999)", "out of range"),
        ("gce+sce", "one part of the room loss"),
        ("fedprox+fedprox", "same part twice"),
        ("auto", "names no parts"),
        ("x" * 3000, "characters"),
    ],
)
def test_what_is_wrong_is_said(text: str, say: str) -> None:
    with pytest.raises(ConfigError, match=say):
        read_method(text)


def test_what_a_client_lacks_is_named() -> None:
    lacking = missing(read_method("balanced-softmax+er"), {"classes", "counts"})
    assert [name for name, _ in lacking] == [
        part.name for part in read_method("balanced-softmax+er").parts for _ in part.row.needs - {"classes", "counts"}
    ]
    assert all(words in NEEDS.values() for _, words in lacking)
    assert missing(read_method("balanced-softmax+er"), NEEDS) == []
