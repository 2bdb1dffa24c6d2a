"""Room, writes that survive a power cut, and a file system on which the journal is safe."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median

from roughfed.deploy.doctor.finding import Finding, failure, ok, skipped, warning
from roughfed.deploy.doctor.requirements import Needs, needs
from roughfed.deploy.doctor.site import DoctorSite

MIB, GIB = 1 << 20, 1 << 30
SCANT_BYTES, SCANT_INODES = GIB, 1000
TRIES, SAMPLE_BYTES, SLOW_S = 5, 64 * 1024, 0.1
NETWORK = (
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "smbfs",
    "9p",
    "afs",
    "ceph",
    "glusterfs",
    "lustre",
    "beegfs",
    "gpfs",
    "fuse.",
)
PASSING = ("tmpfs", "ramfs")
MOUNTS = Path("/proc/self/mountinfo")


def disk(site: DoctorSite) -> Iterable[Finding]:
    """Where the state directory is, or will be."""
    if site.role == "none":
        yield skipped("nothing is kept here")
        return
    folder = site.state if site.state.is_dir() else site.folder
    yield room(folder, needs(site))
    yield inodes(os.statvfs(folder))
    yield writes(folder)
    yield one_disk(folder)
    yield kind(folder, MOUNTS)


def room(folder: Path, wanted: Needs) -> Finding:
    """Free bytes against what a round and the kept versions of the model need."""
    free = os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize
    measured = f"{free / GIB:.2f} GiB free, {wanted.disk_bytes / GIB:.2f} GiB wanted"
    cure = "make room, or move the directory to a larger disk; [model] keep_last keeps fewer versions"
    if wanted.known and free < wanted.disk_bytes:
        return failure(f"too little room: {wanted.words}", measured=measured, cure=cure, about="room")
    if free < SCANT_BYTES:
        return warning("less than 1 GiB is free", measured=measured, cure=cure, about="room")
    return ok(f"there is room enough{': ' + wanted.words if wanted.known else ''}", measured=measured, about="room")


def inodes(room_: os.statvfs_result) -> Finding:
    """Files that can still be made; file systems without a limit say 0 of 0."""
    if room_.f_files and room_.f_favail < SCANT_INODES:
        cure = "delete files on this disk: it has bytes left, but hardly any inodes (df -i)"
        return warning("the disk can take few more files", measured=str(room_.f_favail), cure=cure, about="inodes")
    measured = str(room_.f_favail) if room_.f_files else "no limit"
    return ok("the disk can take more files", measured=measured, about="inodes")


def writes(folder: Path, *, clock: Callable[[], float] = time.perf_counter) -> Finding:
    """A file that is written, synced and renamed, as updates and models are."""
    took = list[float]()
    try:
        with tempfile.TemporaryDirectory(prefix=".doctor-", dir=folder) as scratch:
            for number in range(TRIES):
                path = Path(scratch) / str(number)
                with path.open("wb") as file:
                    began = clock()
                    file.write(bytes(SAMPLE_BYTES))
                    file.flush()
                    os.fsync(file.fileno())
                    took.append(clock() - began)
                path.rename(path.with_suffix(".placed"))
    except OSError as error:
        cure = f"make {folder} writable for this user, on a disk that is neither full nor read-only"
        return failure(f"cannot write in {folder}: {error.strerror or error}", cure=cure, about="writes")
    middle = median(took)
    measured = f"{middle * 1000:.1f} ms for write and fsync (median of {TRIES})"
    if middle > SLOW_S:
        cure = "use a local disk, best an SSD: each acknowledged update waits for one sync"
        return warning("the disk takes long to make a write safe", measured=measured, cure=cure, about="writes")
    return ok("files can be written, synced and renamed", measured=measured, about="writes")


def one_disk(state: Path) -> Finding:
    """What is renamed into place must be on the disk that it is renamed on."""
    home = state.stat().st_dev
    apart = sorted(p.name for p in state.iterdir() if p.is_dir() and p.stat().st_dev != home)
    if apart:
        cure = "mount the state directory as a whole, not folders inside it"
        return warning(f"folders of it are on other disks: {', '.join(apart)}", cure=cure, about="one disk")
    return ok("all of it is on one file system", about="one disk")


def kind(folder: Path, mounts: Path) -> Finding:
    """The file system: SQLite's write-ahead log wants a local one."""
    name = file_system(folder, mounts)
    if not name:
        return skipped("the kind of the file system is not known", about="kind")
    if name.startswith(NETWORK) and name != "fuse.fuse-overlayfs":
        cure = "keep state/ on a local disk; over a network, locks and syncs may not hold"
        return warning("the journal lies on a network file system", measured=name, cure=cure, about="kind")
    if name in PASSING:
        cure = "use a disk: after a restart of the machine, nothing of the run is left"
        return warning("the state directory lies in memory", measured=name, cure=cure, about="kind")
    return ok("the file system is a local one", measured=name, about="kind")


def file_system(folder: Path, mounts: Path) -> str:
    """Type of the file system that holds a folder, from mountinfo; empty when it cannot be told."""
    where, best, found = str(folder.resolve()), "", ""
    try:
        lines = mounts.read_text().splitlines()
    except OSError:
        return ""
    for line in lines:
        left, _, right = line.partition(" - ")
        if len(left.split()) < 5 or not right:
            continue
        point = left.split()[4].encode().decode("unicode_escape")
        inside = where == point or where.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):  # of several on one place the last counts
            best, found = point, right.split()[0]
    return found
