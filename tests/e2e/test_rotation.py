"""The server's certificate is replaced while it runs: open sessions stay, new handshakes see the new one.

The shortest life that can be set is a day, so this server runs in the test's own process, with papers that are old
when it starts, and gets the next ones when the test says so. Sockets, TLS and files are the real ones.
"""

import asyncio
import json
import logging
import ssl
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from roughfed.client.members.credential_files import Credentials
from roughfed.crypto.certificates import SERVER_HOST, load_certificate, new_request
from roughfed.deploy import aggregator
from roughfed.deploy.synthetic import SyntheticOrigin
from roughfed.messages import Heartbeat
from roughfed.server.app import Ports, ServerSetup, serve
from roughfed.server.members.authority import Authority
from roughfed.server.members.server_credentials import Papers, from_authority
from roughfed.wire.session import encode_client_message

from .federation import PATIENCE_S, Cluster, state_of
from .peer import Peer, enrol

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(60)]

AGE = timedelta(days=6)  # of seven: the next certificate is due


class Supply:
    """Old papers first; the next ones when `release` is set."""

    def __init__(self, authority: Authority, folder: Path) -> None:
        self._authority, self._fresh = authority, from_authority(authority, folder, "server")
        self.release = asyncio.Event()
        self.given: list[Papers] = []

    async def obtain(self, *, new_key: bool = False) -> Papers:
        papers = await self._fresh(new_key=new_key)
        if not self.given:
            csr, key = new_request(papers.tls_key), papers.identity.public_key
            old = self._authority.issue_server("server", csr, key, now=datetime.now(UTC) - AGE)
            papers = replace(papers, certificate=old.certificate)
        else:
            await self.release.wait()
        self.given.append(papers)
        return papers


class Heard(logging.Handler):
    """Sets an event when a text is logged (on the loop's thread)."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self._text, self.event = text, asyncio.Event()

    def emit(self, record: logging.LogRecord) -> None:
        if self._text in record.getMessage():
            self.event.set()


async def shown(port: int, papers: Credentials) -> int:
    """Serial number of the certificate that a handshake shows."""
    context = ssl.create_default_context(cadata=papers.ca_certificate.decode())
    context.load_cert_chain(papers.folder / "certificate.pem", papers.folder / "tls.key")
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=SERVER_HOST)
    der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.transport.abort()
    return load_certificate(ssl.DER_cert_to_PEM_cert(der).encode()).serial_number


async def scenario(cluster: Cluster) -> None:
    authority = Authority.open(cluster.place.ca)
    supply, loop = Supply(authority, cluster.place.papers), asyncio.get_running_loop()
    ready: asyncio.Future[Ports] = loop.create_future()
    config = aggregator.load(cluster.place.folder, {})
    origin = SyntheticOrigin(cluster.params)
    setup = ServerSetup(config, cluster.place.state, origin, supply.obtain, authority, ready.set_result)
    heard, log = (
        Heard("the server has a new certificate"),
        logging.getLogger("roughfed.server.members.server_credentials"),
    )
    log.addHandler(heard)
    log.setLevel(logging.INFO)
    running = asyncio.create_task(serve(setup))
    try:
        ports = await ready
        cluster.place.ports.write_text(json.dumps(asdict(ports)))
        papers = await asyncio.to_thread(enrol, cluster, "x0")
        with Peer(cluster.address, papers) as peer:
            await asyncio.to_thread(peer.join)
            open_ports = (ports.federation, ports.enrolment)
            before = [await shown(port, papers) for port in open_ports]

            supply.release.set()
            await asyncio.wait_for(heard.event.wait(), PATIENCE_S)

            after = [await shown(port, papers) for port in open_ports]
            peer.send(encode_client_message(Heartbeat("training", 0.5)))
            await asyncio.to_thread(training, cluster)
            serials = [load_certificate(given.certificate).serial_number for given in supply.given]
            assert before == [serials[0]] * 2
            assert after == [serials[1]] * 2
            with Peer(cluster.address, await asyncio.to_thread(enrol, cluster, "x1")) as newcomer:
                await asyncio.to_thread(newcomer.join)
        assert await asyncio.to_thread(cluster.control, op="stop") == {"stopping": True}
        assert await asyncio.wait_for(running, PATIENCE_S) == "drained"
    finally:
        log.removeHandler(heard)
        log.setLevel(logging.NOTSET)
        running.cancel()


def training(cluster: Cluster) -> None:
    """Wait until the server has heard, over the session that was open before, what the client does."""
    with cluster.watch() as watch:
        watch.until(lambda s: state_of(s, "x0") == "training")


def test_open_sessions_stay_and_new_handshakes_see_the_new_certificate(tmp_path: Path) -> None:
    with Cluster(tmp_path) as cluster:
        asyncio.run(scenario(cluster))
