"""All checks at once, each in a thread of its own, and none for longer than there is time."""

from __future__ import annotations

import queue
import sqlite3
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from roughfed.deploy.doctor import CHECKS, Check
from roughfed.deploy.doctor.finding import CheckState, Finding, failure, warning
from roughfed.deploy.doctor.site import DoctorSite
from roughfed.errors import ConfigError, RoughfedError

Findings = dict[str, tuple[Finding, ...]]


@dataclass(frozen=True, slots=True)
class Examination:
    """What the checks found, by name, in the order of the table."""

    findings: Mapping[str, tuple[Finding, ...]]

    def count(self, state: CheckState) -> int:
        """How many findings are of one kind."""
        return sum(finding.state is state for row in self.findings.values() for finding in row)

    @property
    def well(self) -> bool:
        """Whether nothing fails."""
        return not self.count(CheckState.FAILURE)


def examine(site: DoctorSite, names: Iterable[str] = (), *, checks: Mapping[str, Check] = CHECKS) -> Examination:
    """Run checks, all or those of the given names.

    A thread cannot be ended: one that hangs (a name service that does not answer) is left behind and ends with the
    process.
    """
    chosen = {name: check for name, check in checks.items() if name in (tuple(names) or checks)}
    done: queue.SimpleQueue[tuple[str, tuple[Finding, ...]]] = queue.SimpleQueue()
    for name, check in chosen.items():
        work = threading.Thread(target=_look, args=(name, check, site, done), name=f"check-{name}", daemon=True)
        work.start()
    found: Findings = {}
    while len(found) < len(chosen):
        try:
            name, findings = done.get(timeout=site.left())
        except queue.Empty:
            break
        found[name] = findings
    return Examination({name: found.get(name) or (_late(name),) for name in chosen})


def _look(name: str, check: Check, site: DoctorSite, done: queue.SimpleQueue[tuple[str, tuple[Finding, ...]]]) -> None:
    findings = list[Finding]()
    try:
        findings.extend(check.look(site))
    except (RoughfedError, OSError, sqlite3.Error) as error:
        findings.append(_stopped(error))
    except Exception as error:  # noqa: BLE001  a fault in one check must not take the others' findings along
        cure = f"this is a fault of roughfed: report it with what roughfed doctor --only {name} --debug prints"
        findings.append(failure(f"the check itself failed: {type(error).__name__}: {error}", cure=cure))
    done.put((name, tuple(findings)))


def _stopped(error: Exception) -> Finding:
    cure = error.cure if isinstance(error, ConfigError) and error.cure else "correct that, and look again"
    return failure(f"the check could not go on: {error}", cure=cure)


def _late(name: str) -> Finding:
    cure = f"give it more time: roughfed doctor --only {name} --within 120"
    return warning("the check did not end in time", cure=cure)
