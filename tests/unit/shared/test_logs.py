from __future__ import annotations

import asyncio
import io
import json
import logging
import secrets
from collections.abc import Iterator

import numpy as np
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from roughfed.errors import ConfigError
from roughfed.logs import MAX_MESSAGE_CHARS, between_rounds, escape, in_round, redact, setup, summarise
from roughfed.trace_id import trace_id

TOKEN = secrets.token_urlsafe(32)
HEX = secrets.token_hex(32)
PEM = (
    ec.generate_private_key(ec.SECP256R1())
    .private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    .decode()
)
PEM_BODY = PEM.splitlines()[1]
JOIN = f"fed.example.org:8443#{TOKEN}"
JOIN_TEXT = f"join with {JOIN}"
DICT_TEXT = "got {'secret': 'open sesame'}"

log = logging.getLogger("roughfed.test")


@pytest.fixture(autouse=True)
def _restore_logging() -> Iterator[None]:
    root, own = logging.getLogger(), logging.getLogger("roughfed")
    handlers, level = list(root.handlers), own.level
    yield
    root.handlers[:] = handlers
    own.setLevel(level)


@pytest.fixture(params=[True, False], ids=["json", "terminal"])
def stream(request: pytest.FixtureRequest) -> io.StringIO:
    out = io.StringIO()
    setup(level="DEBUG", stream=out, json=request.param)
    return out


@pytest.fixture
def lines() -> io.StringIO:
    out = io.StringIO()
    setup(stream=out, json=True)
    return out


def fail_with(text: str) -> None:
    raise ValueError(text)


def log_exception(text: str) -> None:
    try:
        fail_with(text)
    except ValueError:
        log.exception("failed")


CANARIES = {
    "join line in the text": (lambda: log.info(JOIN_TEXT), TOKEN),
    "join line as argument": (lambda: log.info("join with %s", JOIN), TOKEN),
    "join line in a list": (lambda: log.info("argv %s", ["roughfed", "join", JOIN]), TOKEN),
    "join line in a nested extra": (lambda: log.info("x", extra={"a": {"b": [JOIN]}}), TOKEN),
    "join line in an exception": (lambda: log_exception(JOIN), TOKEN),
    "token=": (lambda: log.info("token=%s", TOKEN), TOKEN),
    "short password=": (lambda: log.info("--password=hunter2x"), "hunter2x"),
    "word token": (lambda: log.info("the token %s was refused", TOKEN), TOKEN),
    "word key": (lambda: log.info("mask key: %s", HEX), HEX),
    "word secret": (lambda: log.info("secret is %s", HEX), HEX),
    "key=": (lambda: log.info("tls_key=%s", HEX), HEX),
    "dict repr": (lambda: log.info("got %s", {"secret": "open sesame"}), "sesame"),
    "dict repr in the text": (lambda: log.info(DICT_TEXT), "sesame"),
    "JSON in the text": (lambda: log.info('{"password": "open sesame"}'), "sesame"),
    "named argument": (lambda: log.info("%(password)s", {"password": "sesame"}), "sesame"),
    "extra": (lambda: log.info("x", extra={"join_token": TOKEN}), TOKEN),
    "nested extra": (lambda: log.info("x", extra={"a": {"secret": "sesame"}}), "sesame"),
    "bytes under a key": (lambda: log.info("x", extra={"key": b"sesame"}), "sesame"),
    "PEM in the text": (lambda: log.info("loaded %s", PEM), PEM_BODY),
    "PEM as the message": (lambda: log.info(PEM), PEM_BODY),
    "PEM cut off": (lambda: log.info(PEM[:-60]), PEM_BODY),
    "PEM in an exception": (lambda: log_exception(PEM), PEM_BODY),
    "PEM as bytes repr": (lambda: log.info(repr(PEM.encode())), PEM_BODY),
    "bytes": (lambda: log.info("blob %s", b"sesame"), "sesame"),
    "bytes in an exception": (lambda: log_exception(repr(b"\x01\x02sesame" * 8)), "sesame"),
    "bytes with a quote in an exception": (lambda: log_exception(repr(b"it's sesame" * 8)), "sesame"),
    "bytes as the message": (lambda: log.info(b"sesame"), "sesame"),
    "array": (lambda: log.info("delta %s", np.full(3, 0.123456)), "0.123456"),
    "array in an exception": (lambda: log_exception(str(np.full(64, 0.123456))), "0.123456"),
    "array repr in the text": (lambda: log.info(repr([[0.123456] * 8] * 8)), "0.123456"),
    "long list": (lambda: log.info("%s", [123456] * 64), "123456"),
    "array in a container": (lambda: log.info("x", extra={"job": {"delta": np.full(3, 0.123456)}}), "0.123456"),
    "deep nesting": (lambda: log.info("%s", [[[[[["sesame"]]]]]]), "sesame"),
    "arguments that do not fit": (lambda: log.info("%d", TOKEN), TOKEN),
    "beside a stack": (lambda: log.info("x", stack_info=True, extra={"secret": HEX}), HEX),
}  # fmt: skip


@pytest.mark.parametrize("case", CANARIES)
def test_secrets_and_bulk_data_never_reach_the_stream(case: str, stream: io.StringIO, capfd) -> None:
    speak, canary = CANARIES[case]
    root = logging.getLogger()  # pytest's own handlers fail a test on a bad record
    root.handlers[:] = [handler for handler in root.handlers if type(handler).__module__ == "roughfed.logs"]

    speak()

    assert stream.getvalue()  # something was said
    assert canary not in stream.getvalue()
    out, err = capfd.readouterr()
    assert canary not in out + err


@pytest.mark.parametrize(
    "text",
    [
        "fed.toml: round.deadline: must be positive",
        pytest.param(f"model digest {HEX}", id="a digest"),  # drawn anew: no part of the test's name
        "invite token: expired",
        "token already used; ask for a new one",
        "client.toml: key=round.deadline",
        "see docs/operate.md#enrolment",
        "class counts 10, 20, 30, 40",
        "public keys of 12 clients",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redact(text) == text


@given(st.text(max_size=300))
def test_redacting_twice_changes_nothing_more(text: str) -> None:
    once = redact(text)

    assert redact(once) == once


def test_redaction_is_fast_on_hostile_text(stream: io.StringIO) -> None:
    for evil in (
        "9" * 200_000,
        "token" * 40_000,
        "key_" * 50_000,
        "b'" * 100_000,
        "-----BEGIN " * 20_000,
        "1 " * 100_000,
    ):
        log.info(evil)  # a rule that backtracks would run into the test's time limit

    assert len(stream.getvalue()) < 8 * MAX_MESSAGE_CHARS


def test_a_json_line_has_the_fixed_and_the_given_fields(lines: io.StringIO) -> None:
    log.warning(
        "round %d is late", 3, extra={"run": "r1", "round": 3, "client": "a", "update": None, "loss": float("nan")}
    )

    line = json.loads(lines.getvalue(), parse_constant=pytest.fail)
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "WARNING",
        "logger": "roughfed.test",
        "msg": "round 3 is late",
        "run": "r1",
        "round": 3,
        "client": "a",
        "update": None,
        "loss": "nan",
    }


def test_time_is_utc_in_milliseconds(lines: io.StringIO) -> None:
    record = logging.makeLogRecord({"msg": "x", "created": 1_700_000_000.25, "levelno": 20, "levelname": "INFO"})
    logging.getLogger().handle(record)

    assert json.loads(lines.getvalue())["time"] == "2023-11-14T22:13:20.250Z"


def test_an_extra_field_cannot_pose_as_a_fixed_one(lines: io.StringIO) -> None:
    log.error("bad", extra={"level": "DEBUG", "time": "never", "logger": "x"})

    line = json.loads(lines.getvalue())
    assert (line["level"], line["logger"]) == ("ERROR", "roughfed.test")
    assert line["time"] != "never"


@pytest.mark.parametrize("evil", ["\n", "\r\n", "\x1b[2J", "\x85", "\u2028", "\u202e", "\x7f", "\0"])
def test_a_peers_text_cannot_forge_a_line(evil: str, stream: io.StringIO) -> None:
    log.info("client said %s", f"{evil}12:00:00 ERROR forged", extra={"client": f"a{evil}forged"})

    written = stream.getvalue()
    assert written.count("\n") == 1
    assert written.endswith("\n")
    assert evil not in written[:-1]


def test_lines_of_a_trace_are_marked_on_a_terminal() -> None:
    out = io.StringIO()
    setup(stream=out, json=False)

    log_exception("first\n12:00:00 ERROR forged")

    first, *trace = out.getvalue().splitlines()
    assert "ERROR" in first
    assert trace
    assert all(row.startswith("    | ") for row in trace)


def test_the_form_follows_the_stream() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    file, terminal = io.StringIO(), Terminal()
    setup(stream=file)
    log.info("to a file")
    setup(stream=terminal)
    log.info("to a person", extra={"round": 3})

    assert json.loads(file.getvalue())["msg"] == "to a file"  # and only that: the second setup replaced the first
    assert terminal.getvalue().endswith("INFO    test: to a person  round=3\n")


def test_a_long_message_is_cut_after_redaction(lines: io.StringIO) -> None:
    log.info("%s %s", "x" * (MAX_MESSAGE_CHARS - 20), JOIN)
    log.info("y" * 1_000_000)

    first, second = (json.loads(line)["msg"] for line in lines.getvalue().splitlines())
    assert TOKEN[:10] not in first
    assert len(second) < MAX_MESSAGE_CHARS + 50
    assert "1000000 characters" in second


def test_the_record_itself_stays_as_it_was(lines: io.StringIO) -> None:
    record = logging.makeLogRecord({"msg": "%s", "args": (JOIN,), "levelno": 20})
    logging.getLogger().handle(record)

    assert record.args == (JOIN,)


def test_a_broken_stream_fails_nobody(capfd) -> None:
    class Broken(io.StringIO):
        def write(self, s: str, /) -> int:
            raise BrokenPipeError(s)

    setup(stream=Broken(), json=True)
    log.info("nobody hears %s", TOKEN)

    assert TOKEN not in "".join(capfd.readouterr())


def test_other_libraries_speak_from_warning_on(lines: io.StringIO) -> None:
    logging.getLogger("somebody").info("chatter")
    log.debug("detail")

    assert lines.getvalue() == ""


@pytest.mark.parametrize("level", ["loud", "", 17])
def test_an_unknown_level_is_refused(level: str | int) -> None:
    with pytest.raises(ConfigError) as info:
        setup(level=level, stream=io.StringIO())

    assert info.value.key == "ROUGHFED_LOG"
    assert "WARNING" in info.value.cure


def test_summaries_show_type_shape_and_length() -> None:
    assert summarise(np.zeros((3, 4), np.float32)) == "<ndarray float32 [3, 4]>"
    assert summarise(np.float32(0.5)) == 0.5
    assert summarise(b"1234") == "<bytes 4>"
    assert summarise(list(range(100))) == "<list 100>"
    assert summarise({"round": 3, "token": "x"}) == {"round": 3, "token": "[redacted]"}
    assert summarise({"num_tokens": 5}) == {"num_tokens": 5}


def test_escape_shows_what_was_there() -> None:
    assert escape("a\nb\x1b") == r"a\nb\x1b"


def test_lines_of_a_rounds_task_name_the_round_and_its_trace(lines: io.StringIO) -> None:
    async def play(number: int) -> None:
        in_round("run-1", number)
        await asyncio.gather(step(number), asyncio.to_thread(log.info, "in a thread"))
        between_rounds()
        log.info("over")

    async def step(number: int) -> None:
        log.info("a step", extra={"round": number + 100})  # what a line says itself comes first

    async def both() -> None:
        await asyncio.gather(play(1), play(2))

    asyncio.run(both())
    log.info("elsewhere")
    said = [json.loads(line) for line in lines.getvalue().splitlines()]
    threads = [line for line in said if line["msg"] == "in a thread"]
    assert sorted((line["run"], line["round"]) for line in threads) == [("run-1", 1), ("run-1", 2)]
    assert {line["trace"] for line in threads} == {trace_id("run-1", 1), trace_id("run-1", 2)}
    assert sorted(line["round"] for line in said if line["msg"] == "a step") == [101, 102]
    assert not any("round" in line or "trace" in line for line in said if line["msg"] in ("over", "elsewhere"))
