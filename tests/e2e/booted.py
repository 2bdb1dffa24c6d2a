"""A real systemd for the tests, in namespaces of its own, on a copy-on-write view of this machine's files.

It is the first process there, has its own cgroups and network, and starts nothing but a journal; whatever it writes
is gone with it. It ends with the test that started it, however that ends, and with it all that runs in it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path
from types import TracebackType

import pytest

PATIENCE_S = 60.0
ROOT = Path(__file__).parents[2]
"""What is tested, which may lie in a folder that the machine has of its own."""

BOOT = r"""
set -e
T=$1
mount --make-rprivate /
mount -t tmpfs -o mode=0755 tmpfs $T
mkdir $T/upper $T/work $T/root
mount -t overlay overlay -o lowerdir=/,upperdir=$T/upper,workdir=$T/work $T/root
R=$T/root
mount -t proc proc $R/proc
mount --bind $R/proc/sys $R/proc/sys
mount -o remount,bind,ro $R/proc/sys
mount -t sysfs -o ro sysfs $R/sys
mount -t cgroup2 cgroup2 $R/sys/fs/cgroup
mount -t tmpfs -o mode=0755 tmpfs $R/run
mount -t tmpfs -o mode=1777 tmpfs $R/tmp
case $2 in /tmp/*)
    mkdir -p $T/upper2 $T/work2 $R$2
    mount -t overlay overlay -o lowerdir=$2,upperdir=$T/upper2,workdir=$T/work2 $R$2;;
esac
mount -t tmpfs -o mode=0755 tmpfs $R/dev
for d in null zero full random urandom tty; do touch $R/dev/$d; mount --bind /dev/$d $R/dev/$d; done
mkdir $R/dev/pts $R/dev/shm $R/dev/mqueue
mount -t devpts -o newinstance,ptmxmode=0666 devpts $R/dev/pts
ln -s pts/ptmx $R/dev/ptmx; ln -s /proc/self/fd $R/dev/fd
mount -t tmpfs -o mode=1777 tmpfs $R/dev/shm
rm -rf $R/etc/systemd/system/* $R/etc/fstab $R/var/log/journal
for t in sysinit basic local-fs sockets timers multi-user; do rm -rf $R/usr/lib/systemd/system/$t.target.wants; done
printf '[Unit]\nDefaultDependencies=no\nAllowIsolate=yes\nWants=systemd-journald.socket systemd-journald.service\n' \
    > $R/etc/systemd/system/roughfed-test.target
ip link set lo up
cd $R
mkdir -p outside
pivot_root . outside
umount -l /outside
exec env -i container=roughfed-test PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    /usr/lib/systemd/systemd --system --unit=roughfed-test.target --log-target=console --log-level=notice
"""


def can_boot() -> str:
    """What is missing for it, or an empty string."""
    if os.geteuid() != 0:
        return "needs root, to start a systemd of its own"
    tools = ("setpriv", "unshare", "nsenter", "ip", "pivot_root", "systemctl")
    if missing := [tool for tool in tools if shutil.which(tool) is None]:
        return f"needs {', '.join(missing)} (make tools)"
    if not Path("/usr/lib/systemd/systemd").exists():
        return "needs systemd (make tools)"
    return ""


class Booted:
    """One systemd; `with Booted(tmp_path) as machine:`."""

    def __init__(self, folder: Path) -> None:
        if reason := can_boot():
            pytest.skip(reason)
        self._mount = folder / "machine"
        self._mount.mkdir()
        self._log = (folder / "boot.log").open("w+")
        flags = ("--mount", "--pid", "--fork", "--kill-child", "--cgroup", "--uts", "--ipc", "--net")
        boot = ["bash", "-c", BOOT, "boot", str(self._mount), str(ROOT)]
        self._outer = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "unshare", *flags, *boot],
            stdin=subprocess.DEVNULL, stdout=self._log, stderr=subprocess.STDOUT,
        )  # fmt: skip
        self.pid = 0

    def __enter__(self) -> Booted:
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until and self._outer.poll() is None:
            children = Path(f"/proc/{self._outer.pid}/task/{self._outer.pid}/children").read_text().split()
            if children and Path(f"/proc/{children[0]}/comm").read_text().strip() == "systemd":
                self.pid = int(children[0])
                if self.sh("systemctl is-system-running --wait", check=False).strip() == "running":
                    return self
        self.__exit__(None, None, None)
        raise AssertionError(f"systemd did not start: {self.words}")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None and self.pid:
            print(self.sh("journalctl --no-pager -n 80 -o short-iso-precise", check=False))
        self._outer.kill()
        self._outer.wait()
        self.words = Path(self._log.name).read_text()
        self._log.close()

    def sh(self, script: str, *, check: bool = True, timeout_s: float = PATIENCE_S) -> str:
        """Run a shell script in there as root; what it prints, on both channels."""
        enter = ["nsenter", "-t", str(self.pid), "-m", "-p", "-u", "-i", "-n", "-C", "--root", "--wdns=/"]
        clean = ["env", "-i", "PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "bash", "-euc", script]
        done = subprocess.run(
            [*enter, *clean], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            timeout=timeout_s, check=False,
        )  # fmt: skip
        assert not check or done.returncode == 0, f"{script}\n{done.stdout}"
        return done.stdout

    def journal(self, unit: str) -> str:
        """What a unit said."""
        return self.sh(f"journalctl --no-pager -o cat -u '{unit}'", check=False)
