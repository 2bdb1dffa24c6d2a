"""The batch script under a real Slurm of one node: trains, leaves before its time is up, comes back, is cancelled."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from roughfed.deploy.cli.install import reads
from tests.unit.documents import blocks

from .booted import Booted

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(600)]

CLUSTER = r"""
useradd --create-home alice
ip link add one type veth peer name two; ip addr add 10.9.9.1/24 dev one; ip link set one up; ip link set two up
hostname node
printf '127.0.0.1 localhost\n10.9.9.1 node\n' > /etc/hosts
install -d /etc/slurm /var/spool/slurmctld /var/spool/slurmd
install -d -o munge -m 0755 /run/munge; install -d -o munge -m 0700 /etc/munge /var/lib/munge /var/log/munge
head -c 1024 /dev/urandom > /etc/munge/munge.key
chown munge: /etc/munge/munge.key; chmod 400 /etc/munge/munge.key
cat > /etc/slurm/slurm.conf <<'END'
ClusterName=test
SlurmctldHost=node(10.9.9.1)
SlurmUser=root
AuthType=auth/munge
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
StateSaveLocation=/var/spool/slurmctld
SlurmdSpoolDir=/var/spool/slurmd
SlurmctldLogFile=/run/slurmctld.log
SlurmdLogFile=/run/slurmd.log
SlurmdParameters=config_overrides
GresTypes=gpu
NodeName=node NodeAddr=10.9.9.1 CPUs=8 RealMemory=64000 Gres=gpu:1 State=UNKNOWN
PartitionName=all Nodes=node Default=YES MaxTime=INFINITE State=UP
END
echo 'CgroupPlugin=disabled' > /etc/slurm/cgroup.conf
echo 'Name=gpu File=/dev/zero' > /etc/slurm/gres.conf
runuser -u munge -- munged
slurmctld; slurmd
timeout 30 bash -c 'until sinfo -h -o %t | grep -q idle; do sleep 0.2; done'
"""
LOG = "/home/alice/roughfed-client-1.log"


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Booted]:
    """One node that says it has 8 cores and a GPU."""
    if missing := [tool for tool in ("slurmctld", "slurmd", "munged", "sbatch") if shutil.which(tool) is None]:
        pytest.skip(f"needs {', '.join(missing)} (make tools)")
    with Booted(tmp_path) as machine:
        folders = {parent for path in reads() for parent in (path, *path.parents)}
        machine.sh(f"chmod a+x {shlex.join(map(str, sorted(folders)))}")
        machine.sh(f"ln -s {shlex.quote(sys.prefix)}/bin/roughfed /usr/local/bin/roughfed")
        machine.sh(CLUSTER)
        yield machine


def alice(cluster: Booted, script: str, stdin: str = "/dev/null") -> str:
    """A user of the cluster does something at home."""
    return cluster.sh(f"cd /home/alice; runuser -u alice -- bash -euc {shlex.quote(script)} < {stdin}")


def said(cluster: Booted, log: str, text: str, *, count: int = 1) -> None:
    """Returns once a log has so many lines with a text."""
    follow = f"exec timeout 200 tail -n +1 -F {log} 2> /dev/null"
    cluster.sh(f"[ $(timeout 200 grep -m {count} {shlex.quote(text)} <({follow}) | wc -l) = {count} ]", timeout_s=220)


def test_a_client_outlives_its_job(cluster: Booted) -> None:
    settings = "-o privacy.server_sees=updates -o round.min_clients=1 -o round.rounds=100000"
    alice(cluster, f"mkdir fed; roughfed init --dir fed --data digits {settings}")
    alice(cluster, "(roughfed server --dir fed > server.log 2>&1 &)")
    said(cluster, "/home/alice/server.log", "listening metrics")
    alice(cluster, "roughfed invite a --host 127.0.0.1 --dir fed > invite 2> /dev/null")

    (block,) = (b for b in blocks("sh") if b.mark == "run" and "::test_a_client_outlives_its_job" in b.about)
    cluster.sh(f"cp -r {ROOT / 'deploy'} /home/alice/deploy")
    agreed = "export ROUGHFED_POLICY__SERVER_SEES=updates"
    three_minutes = f"export SBATCH_TIMELIMIT=3; {agreed}\n{block.text}"  # the last two are for taking leave
    assert "Submitted batch job 1" in alice(cluster, three_minutes, stdin="/home/alice/invite")
    assert cluster.sh("stat -c %a /home/alice/roughfed-client/line").strip() == "600"

    said(cluster, LOG, "round 2 committed; this client's update: accepted")
    said(cluster, LOG, "the client ended: stopped")
    said(cluster, LOG, "queued again: the time is up")
    cluster.sh("timeout 60 bash -c 'until scontrol show job 1 | grep -q JobState=PENDING; do sleep 0.2; done'")
    assert re.search(r"Restarts=1\b", cluster.sh("scontrol show job 1"))
    cluster.sh("scontrol update jobid=1 starttime=now")  # Slurm would wait two minutes
    said(cluster, LOG, "connected to ", count=2)  # with the same keys: the line was spent

    cluster.sh("scancel 1")
    said(cluster, LOG, "the client ended: stopped", count=2)
    cluster.sh("timeout 60 bash -c 'while squeue -h | grep -q .; do sleep 0.2; done'")
    assert cluster.sh("pgrep -fc '[r]oughfed join' || true").strip() == "0"
