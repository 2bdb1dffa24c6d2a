"""When a client renews its certificate, and what it makes of a CA that does not answer or says no."""

import asyncio
import itertools
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from roughfed.client.members import credential_files, enrol, renewal
from roughfed.client.members.credential_files import CredentialRecord, Credentials
from roughfed.client.members.renewal import ASKED_EVERY_S, Renewal
from roughfed.crypto.certificates import load_private, new_tls_key
from roughfed.crypto.identity import IdentityKey
from roughfed.crypto.issuing import CertificateAuthority
from roughfed.crypto.names import Subject
from roughfed.errors import ConfigError, IdentityError, RoughfedError, StorageError, Unreachable
from roughfed.messages import RENEW, Reconnect
from tests.unit.clock import present

KEY = new_tls_key()
SERIALS = itertools.count(2)
ME = Subject("fed", "client", "alice")


@cache
def ca() -> CertificateAuthority:
    return CertificateAuthority.create("fed", serial=1, now=present() - timedelta(days=30))


def certificate(*, age: timedelta = timedelta(0), life: timedelta = timedelta(days=7)) -> bytes:
    return ca().issue(load_private(KEY).public_key(), ME, serial=next(SERIALS), now=present() - age, life=life)


FRESH, DUE, OVER = timedelta(0), timedelta(days=6), timedelta(days=8)


@dataclass
class Papers:
    """A folder with papers, and a CA that answers as told: an error, or a fresh certificate."""

    current: Credentials
    answers: list[RoughfedError] = field(default_factory=list[RoughfedError])
    asked: list[bool] = field(default_factory=list[bool])
    age: timedelta = FRESH

    async def renew(self, folder: Path, *, address: str, server: str, force: bool, new_key: bool) -> bool:
        assert (folder, address, server, force) == (Path("papers"), "ca:1", "", True)
        self.asked.append(new_key)
        if self.answers:
            raise self.answers.pop(0)
        self.current = replace(self.current, certificate=certificate(age=self.age))
        return True


Case = Callable[[Papers, Renewal], Coroutine[Any, Any, None]]


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def run(case: Case, age: timedelta = FRESH, clock: Callable[[], float] = lambda: 0.0) -> None:
        async def scenario() -> None:
            mine = Credentials(
                Path("papers"), ME, CredentialRecord("ca:1", "", ""), KEY, certificate(age=age), b"", b"", identity
            )
            papers = Papers(mine)
            monkeypatch.setattr(enrol, "renew", papers.renew)
            monkeypatch.setattr(credential_files, "load", lambda _: papers.current)
            await asyncio.wait_for(case(papers, Renewal(Path("papers"), address="ca:1", clock=clock)), 10)

        identity = IdentityKey.generate()
        asyncio.run(scenario())

    monkeypatch.setattr(renewal, "RETRY_S", (0.01, 0.01))
    return run


def test_what_is_due_is_renewed_while_the_session_goes_on(play: Callable[..., None]) -> None:
    async def case(papers: Papers, mine: Renewal) -> None:
        shown = await mine.credentials()
        assert papers.asked == []  # it is good yet: no session waits for the CA
        running = asyncio.create_task(mine.run())
        await mine.changed(shown)
        assert (await mine.credentials()).certificate == papers.current.certificate != shown.certificate
        assert papers.asked == [False]
        running.cancel()

    play(case, age=DUE)


@pytest.mark.parametrize(
    "error", [Unreachable("away"), IdentityError("skew", reason="clock"), StorageError("full")], ids=lambda e: e.reason
)
def test_what_may_pass_is_tried_again(play: Callable[..., None], error: RoughfedError) -> None:
    async def case(papers: Papers, mine: Renewal) -> None:
        papers.answers = [error, error]
        shown, running = await mine.credentials(), asyncio.create_task(mine.run())
        await mine.changed(shown)
        assert papers.asked == [False] * 3
        running.cancel()

    play(case, age=DUE)


@pytest.mark.parametrize(
    "error",
    [IdentityError("out", reason="revoked"), IdentityError("another", reason="replaced"), ConfigError("damaged")],
    ids=lambda e: e.reason,
)
def test_a_final_word_ends_the_client(play: Callable[..., None], error: RoughfedError) -> None:
    async def case(papers: Papers, mine: Renewal) -> None:
        papers.answers = [error]
        with pytest.raises(type(error)):
            await mine.run()

    play(case, age=DUE)


def test_who_has_expired_renews_before_it_connects_or_says_why_it_cannot(play: Callable[..., None]) -> None:
    async def case(papers: Papers, mine: Renewal) -> None:
        papers.answers = [Unreachable("nobody is there", cure="start it")]
        with pytest.raises(Unreachable, match="has expired, and nobody is there") as caught:
            await mine.credentials()
        assert caught.value.cure == "start it"
        assert (await mine.credentials()).certificate == papers.current.certificate
        assert papers.asked == [False, False]

    play(case, age=OVER)


@pytest.mark.parametrize("reason", ["clock", "tls", "expired"])
def test_a_wrong_clock_ends_no_client(play: Callable[..., None], reason: str) -> None:
    async def case(papers: Papers, mine: Renewal) -> None:
        papers.answers = [IdentityError("the clocks differ", reason=reason), IdentityError("out", reason="revoked")]
        with pytest.raises(Unreachable, match=r"by the clock of this machine .* and the clocks differ"):
            await mine.credentials()
        with pytest.raises(IdentityError, match="out"):
            await mine.credentials()

    play(case, age=OVER)


def test_a_ca_that_gives_what_is_due_already_is_not_asked_in_a_loop(
    play: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def case(papers: Papers, mine: Renewal) -> None:
        monkeypatch.setattr(renewal, "RETRY_S", (60.0, 60.0))
        papers.age = DUE
        shown, running = await mine.credentials(), asyncio.create_task(mine.run())
        await mine.changed(shown)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(mine.changed(await mine.credentials()), 0.2)
        assert papers.asked == [False]
        running.cancel()

    play(case, age=DUE)


def test_a_server_gets_a_new_key_once_in_a_while_and_no_oftener(play: Callable[..., None]) -> None:
    now = 0.0

    async def case(papers: Papers, mine: Renewal) -> None:
        nonlocal now
        running, shown = asyncio.create_task(mine.run()), await mine.credentials()
        for at, granted in ((0.0, True), (1.0, False), (ASKED_EVERY_S - 1, False), (ASKED_EVERY_S, True)):
            now, wished = at, len(papers.asked)
            assert mine.accept(Reconnect(0.0, RENEW)) is None  # the session stays open
            if granted:
                await mine.changed(shown)
                shown = await mine.credentials()
            assert len(papers.asked) == wished + granted
        assert papers.asked == [True, True]
        assert mine.accept(bye := Reconnect(1.0, "the server is restarting")) is bye
        running.cancel()

    play(case, clock=lambda: now)


def test_a_wish_outlives_a_ca_that_is_away(play: Callable[..., None]) -> None:
    async def case(papers: Papers, mine: Renewal) -> None:
        papers.answers = [Unreachable("away")]
        running, shown = asyncio.create_task(mine.run()), await mine.credentials()
        assert mine.request_key()
        await mine.changed(shown)
        assert papers.asked == [True, True]
        running.cancel()

    play(case)


def test_the_operator_gets_a_new_key_or_the_reason_at_once(play: Callable[..., None]) -> None:
    async def case(papers: Papers, mine: Renewal) -> None:
        shown = await mine.credentials()
        papers.answers = [Unreachable("away")]
        with pytest.raises(Unreachable):
            await mine.rotate()
        assert (await mine.credentials()).certificate == shown.certificate
        told = [await mine.rotate(), await mine.rotate()]  # nobody limits the operator
        assert [each["rotated"] for each in told] == ["alice", "alice"]
        assert told[0]["serial"] != told[1]["serial"]
        await mine.changed(shown)
        assert papers.asked == [True] * 3

    play(case)


def test_papers_from_a_backup_are_renewed_once(play: Callable[..., None]) -> None:
    async def case(papers: Papers, mine: Renewal) -> None:
        running, outdated = asyncio.create_task(mine.run()), IdentityError("a later one", reason="outdated")
        await mine.credentials()
        assert await mine.recover(outdated) == 0.0
        with pytest.raises(IdentityError):  # two copies of one client would renew against each other
            await mine.recover(outdated)
        with pytest.raises(IdentityError):
            await mine.recover(IdentityError("no", reason="revoked"))
        assert papers.asked == [True]
        running.cancel()

    play(case)
