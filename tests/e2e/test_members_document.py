"""The commands of docs/operate.md about members, typed into a shell in the directory of a running server."""

import re
from contextlib import closing
from pathlib import Path

import pytest

from roughfed.crypto.certificates import load_certificate
from roughfed.errors import IdentityError

from .federation import Cluster, is_connected
from .walk import Shell

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(120)]

DOCUMENT = (Path(__file__).parents[2] / "docs" / "operate.md").read_text()


def test_the_commands_of_the_document_do_what_it_says(tmp_path: Path) -> None:
    section = DOCUMENT.partition("\n## Members")[2]
    invite, revoke, rotate, rotate_client = section.partition("```sh\n")[2].partition("```")[0].splitlines()
    with Cluster(tmp_path, settings={"round": {"min_clients": 3}}) as cluster:
        server = cluster.start_server()
        server.ready()
        with closing(Shell(cluster.place.folder)) as shell, cluster.watch() as watch:
            hospital_b = cluster.start_client("hospital-b")
            line = shell.run(invite).stdout
            (secret,) = re.findall("ROUGHFED_JOIN='(.*)'", line)
            cluster.invite = lambda name: secret
            hospital_a = cluster.start_client("hospital-a")
            watch.until(lambda s: all(is_connected(s, name) for name in ("hospital-a", "hospital-b")))

            assert "its session was cut" in shell.run(revoke).stdout
            assert hospital_a.wait() == IdentityError.exit_code

            assert "server has a new key and certificate" in shell.run(rotate).stdout
            server.wait_line("the server has a new certificate for a new key")

            before = cluster.papers("hospital-b")
            assert "asked for a new key: hospital-b" in shell.run(rotate_client).stdout
            hospital_b.wait_line("connected to", count=2)
            after = cluster.papers("hospital-b")
            assert (
                load_certificate(after.certificate).serial_number != load_certificate(before.certificate).serial_number
            )
            assert after.tls_key != before.tls_key
