"""How much a server may see is the client's to say: never more than before, over runs, restarts and edited settings."""

import asyncio
import logging
from collections.abc import Iterator, Sequence
from contextlib import closing, nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roughfed.client.disclosure.mode import OWNER, SETTINGS, UNKNOWN, Mode, allowed, bound, record_bound, refusals
from roughfed.client.metrics import ClientMetrics
from roughfed.client.policy import Rules
from roughfed.client.rules.checks import check_mode, check_welcome
from roughfed.client.storage.store import SCHEMA, ClientStore
from roughfed.config.client import PolicySettings
from roughfed.crypto import certificates
from roughfed.crypto.issuing import CertificateAuthority
from roughfed.errors import ModeRefused
from roughfed.journal import connect
from roughfed.messages import PROTOCOL, Seen, Welcome
from roughfed.mode import MODES, shows_more, strictest
from roughfed.types import RoundHeader, Signed, Spec, TensorSpec
from roughfed.upgrade import upgrade
from roughfed.wire.session import encode_header

BORN = datetime(2026, 1, 1, tzinfo=UTC)
CA, OTHER = (CertificateAuthority.create("test", serial=n, now=BORN).certificate for n in (3, 4))
FEDERATION = certificates.fingerprint(CA)
HEADER = RoundHeader(
    run="run-1", round=1, model_digest=bytes(32), model_version=0, spec_digest=bytes(32),
    previous_header_digest=bytes(32), codec="identity", server_sees="updates", roster_root=bytes(32), deadline_s=60.0,
    job_digest=bytes(32),
)  # fmt: skip
RULES = Rules(PolicySettings(server_sees="updates", max_model_bytes=1000))
modes = st.sampled_from(MODES)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ClientStore]:
    with closing(ClientStore(tmp_path)) as store:
        yield store


def session(store: ClientStore, policy: str, *, ca: bytes = CA) -> tuple[Mode, Rules]:
    """A process that has come as far as its first session."""
    mode = Mode(store, policy, ClientMetrics())
    return mode, asyncio.run(mode.narrow(RULES.with_policy(server_sees=policy), ca))


def test_the_modes_are_ordered_by_what_they_show() -> None:
    assert [mode for mode in MODES if shows_more(mode, "sketches")] == ["updates"]
    assert not shows_more("sketches", "sketches")
    assert strictest("updates", "sums", "sketches") == "sums"
    assert all(shows_more(unknown, mode) for unknown in ("", "Sums", "all") for mode in MODES)


@pytest.mark.parametrize("held", MODES)
@pytest.mark.parametrize("asked", [*MODES, "all"])
def test_a_run_that_shows_less_is_fine_and_one_that_shows_more_never(held: str, asked: str) -> None:
    rules = RULES.with_policy(server_sees=held)
    welcome = Welcome("1", PROTOCOL, "run-1", Spec((TensorSpec("w", (10,)),)), b"", asked, "classification", 10)
    with pytest.raises(ModeRefused) if shows_more(asked, held) else nullcontext() as refused:
        check_welcome(welcome, rules)
    if refused is not None:
        assert (refused.value.asked, refused.value.held, refused.value.exit_code) == (asked, held, 2)
        assert (f"--accept {asked}" in refused.value.cure) == (asked in MODES)
        assert ("single training images" in refused.value.cure) == (asked == "updates")


@given(policies=st.lists(modes, min_size=1, max_size=5), rounds=st.lists(modes, max_size=8))
def test_whatever_server_and_settings_say_a_directory_never_shows_more_than_before(
    tmp_path_factory: pytest.TempPathFactory, policies: Sequence[str], rounds: Sequence[str]
) -> None:
    with closing(ClientStore(tmp_path_factory.mktemp("state"))) as store:
        shown: list[str] = []  # modes of the rounds that it took part in
        for number, asked in enumerate(rounds):
            policy = policies[number % len(policies)]  # client.toml is edited before each start
            mode, rules = session(store, policy)
            assert not shows_more(rules.policy.server_sees, policy)
            try:
                check_mode(asked, "run-1", rules)
            except ModeRefused as error:
                asyncio.run(mode.refuse(error))
            else:
                asyncio.run(mode.record_round(replace(HEADER, server_sees=asked)))
                shown.append(asked)
        assert shown == sorted(shown, key=MODES.index, reverse=True)
        known = refusals(store, FEDERATION)
        assert sum(each.times for each in known) == len(rounds) - len(shown)
        if shown:
            assert not shows_more(allowed(store, FEDERATION, "updates"), shown[-1])


def test_only_the_owners_word_makes_it_more_and_it_is_logged(
    store: ClientStore, caplog: pytest.LogCaptureFixture
) -> None:
    assert session(store, "sketches")[1].policy.server_sees == "sketches"
    assert session(store, "updates")[1].policy.server_sees == "sketches"  # client.toml alone does nothing
    assert "roughfed join --accept updates" in caplog.text
    with caplog.at_level(logging.WARNING):
        asyncio.run(record_bound(store, FEDERATION, "updates", OWNER))
    assert 'the owner lets the server of this federation see "updates"' in caplog.text
    assert session(store, "updates")[1].policy.server_sees == "updates"
    noted = bound(store, FEDERATION)
    assert noted is not None
    assert (noted.mode, noted.said) == ("updates", OWNER)
    history = store.journal.read("SELECT mode, said, since FROM modes ORDER BY rowid")
    assert [(row["mode"], row["said"]) for row in history] == [("sketches", SETTINGS), ("updates", OWNER)]
    assert history[0]["since"] <= history[1]["since"]


def test_a_federation_is_its_ca(store: ClientStore) -> None:
    mode, _ = session(store, "updates")
    asyncio.run(mode.record_round(replace(HEADER, server_sees="sums")))
    assert session(store, "updates")[1].policy.server_sees == "sums"
    assert session(store, "updates", ca=OTHER)[1].policy.server_sees == "updates"


def test_a_refusal_is_loud_and_outlives_the_process(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with closing(ClientStore(tmp_path)) as store:
        mode, _ = session(store, "sketches")
        asyncio.run(mode.refuse(ModeRefused(asked="updates", held="sketches", run="run-1")))
        asyncio.run(mode.refuse(ModeRefused(asked="updates", held="sketches", run="run-2" * 100)))
        for number in range(50):
            asyncio.run(mode.refuse(ModeRefused(asked=f"mode {number}", held="sketches", run="run-3")))
    loud = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(loud) == 52
    assert '"updates"' in loud[0].getMessage()
    assert '"sketches"' in loud[0].getMessage()
    with closing(ClientStore(tmp_path)) as store:
        mode, _ = session(store, "sketches")
        found = {each.mode: each for each in refusals(store, FEDERATION)}
        assert set(found) == {"updates", UNKNOWN}  # a server cannot fill the disk with names
        assert (found["updates"].times, found["updates"].held, found[UNKNOWN].times) == (2, "sketches", 50)
        assert len(found["updates"].run) == 100
        assert mode.facts() == {"server_sees": "sketches", "modes_refused": 52, "mode_refused": UNKNOWN}
        page = mode._metrics.render().decode()
    assert "roughfed_client_modes_refused_total 52.0" in page
    assert 'roughfed_client_server_sees{mode="sketches"} 1.0' in page


@pytest.mark.parametrize("before", MODES)
def test_a_directory_of_an_older_version_holds_to_what_it_took_part_in(tmp_path: Path, before: str) -> None:
    with closing(connect(tmp_path / "client.db")) as db:
        step = next(number for number, script in enumerate(SCHEMA) if "CREATE TABLE modes " in script)
        upgrade(db, SCHEMA[:step], tmp_path / "client.db")
        row = ("run-0", 1, encode_header(replace(HEADER, server_sees=before)), bytes(64), "server", b"")
        db.execute("INSERT INTO seen VALUES (?, ?, ?, ?, ?, ?)", row)
    with closing(ClientStore(tmp_path)) as store:
        assert session(store, "updates")[1].policy.server_sees == before
        assert session(store, "sketches")[1].policy.server_sees == strictest(before, "sketches")


def test_a_round_counts_before_anything_is_done_for_it(store: ClientStore) -> None:
    mode, _ = session(store, "updates")
    asyncio.run(store.extend_chain("run-1", 1, bytes(32), seen=Seen(Signed(b"", b"", "server"), b"")))
    asyncio.run(mode.record_round(replace(HEADER, server_sees="sketches")))
    noted = bound(store, FEDERATION)
    assert noted is not None
    assert (noted.mode, noted.said) == ("sketches", "run run-1")
    asyncio.run(mode.record_round(replace(HEADER, server_sees="sketches", run="run-2")))
    assert bound(store, FEDERATION) == noted  # not anew with each round
