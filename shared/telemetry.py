"""Metric families as tables, kept in a registry of their own, behind two guards.

*Labels*: a label takes its values from a fixed set; anything else is counted under "other". So no peer, and no mistake,
can make the number of series grow. *Failures*: what is decorated with `safely` never raises: a round is worth more than
its metrics.
"""

from __future__ import annotations

import functools
import logging
import math
import platform
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Concatenate, Literal, ParamSpec, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric

from roughfed import __version__

P = ParamSpec("P")
Q = ParamSpec("Q")
T = TypeVar("T")
Self = TypeVar("Self")

CONTENT_TYPE = CONTENT_TYPE_LATEST
OTHER = "other"

# A bucket is a series for each label value, so what is told by phase, method or kind of work has few.
WORK_S = (0.001, 0.01, 0.1, 1.0, 10.0)
CALL_S = (0.01, 0.1, 1.0, 10.0, 60.0)
PHASE_S = (0.1, 1.0, 10.0, 100.0, 1000.0)
SHORT_S = (0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)
LONG_S = (0.1, 0.5, 1.0, 5.0, 10.0, 60.0, 300.0, 900.0, 3600.0, 14400.0)

_MAX_PRESET = 64  # label combinations that are shown from the start, at zero

log = logging.getLogger(__name__)

_SAID: set[tuple[str, type[Exception]]] = set()

Samples = Iterable[tuple[tuple[str, ...], float]]


@dataclass(frozen=True, slots=True)
class Family:
    """One metric family.

    Attributes:
        name: without the prefix; a counter ends in `_total`.
        kind: its Prometheus type.
        meaning: one sentence: HELP text and documentation.
        labels: label -> its values; without values, they are given when the process starts.
        buckets: upper bounds, for a histogram.
        unknown: a gauge that has no value yet (shown as NaN): zero would be a lie.
        on_scrape: the values are read when the page is asked for.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    meaning: str
    labels: Mapping[str, Sequence[str]] = field(default_factory=dict[str, Sequence[str]])
    buckets: Sequence[float] = SHORT_S
    unknown: bool = False
    on_scrape: bool = False


BUILD_INFO = Family("build_info", "gauge", "Always 1; the labels say what runs.", {"version": (), "python": ()})
RESIDENT_BYTES = Family(
    "process_resident_bytes",
    "gauge",
    "Resident memory of the process by kind; anon and shmem are its own, file pages can be dropped.",
    {"kind": ("anon", "shmem", "file")},
    on_scrape=True,
)


def safely(
    method: Callable[Concatenate[Self, P], None],
) -> Callable[Concatenate[Self, P], None]:
    """Make a recording method incapable of failing its caller; each kind of failure is logged once."""

    @functools.wraps(method)
    def guarded(self: Self, /, *args: P.args, **kwargs: P.kwargs) -> None:
        _attempted(method, None, self, *args, **kwargs)

    return guarded


def timed(
    method: Callable[Concatenate[Self, float, P], None],
) -> Callable[Concatenate[Self, P], AbstractContextManager[None]]:
    """Turn a method that records seconds into one that goes around what takes them: `with metrics.crypto("sign"):`.

    Like `safely`, it cannot fail its caller. What ends with an error is not recorded.
    """
    record = safely(method)

    @functools.wraps(method)
    @contextmanager
    def around(self: Self, /, *args: P.args, **kwargs: P.kwargs) -> Generator[None, None, None]:
        began = time.perf_counter()
        yield
        record(self, time.perf_counter() - began, *args, **kwargs)

    return around


def measured(look: Callable[[], T], otherwise: T) -> T:
    """What a look at the system gives; `otherwise` where it fails, for whatever reason. Each kind is logged once."""
    return _attempted(look, otherwise)


def _attempted(work: Callable[Q, T], otherwise: T, /, *args: Q.args, **kwargs: Q.kwargs) -> T:
    try:
        return work(*args, **kwargs)
    except Exception as error:
        kind = (getattr(work, "__qualname__", repr(work)), type(error))
        if kind not in _SAID:
            _SAID.add(kind)
            log.warning("not recorded: %s (said once)", kind[0], exc_info=True)
        return otherwise


class Telemetry:
    """The families of one process. Its methods raise on misuse; the domain's methods around them are `safely`."""

    def __init__(
        self, prefix: str, families: Sequence[Family], *, labels: Mapping[str, Sequence[str]] | None = None
    ) -> None:
        """Create every family.

        Args:
            prefix: of every name, with its underscore.
            families: the table.
            labels: values of the labels that the table leaves open.
        """
        known = {"version": (__version__,), "python": (platform.python_version(),), **(labels or {})}
        self._registry = CollectorRegistry()
        self._others: set[str] = set()
        self._prefix = prefix
        self._families = {family.name: family for family in families}
        self._values = {
            family.name: {
                label: tuple(values) or tuple(known.get(label, ())) for label, values in family.labels.items()
            }
            for family in families
        }
        self._metrics = {family.name: self._create(family) for family in families if not family.on_scrape}
        self._known: dict[tuple[object, ...], Counter | Gauge | Histogram] = {}
        """(name, labels) -> series, of labels that the table knows: as few as there are series."""
        self.set("build_info", 1, version=__version__, python=platform.python_version())
        self.on_scrape("process_resident_bytes", resident_bytes)

    def _create(self, family: Family) -> Counter | Gauge | Histogram:
        name, labels = self._prefix + family.name, tuple(family.labels)
        if family.kind == "histogram":
            return Histogram(name, family.meaning, labels, registry=self._registry, buckets=family.buckets)
        if family.kind == "gauge":
            gauge = Gauge(name, family.meaning, labels, registry=self._registry)
            if family.unknown and not labels:
                gauge.set(math.nan)
            return gauge
        counter = Counter(name, family.meaning, labels, registry=self._registry)
        others = (OTHER,) if len(labels) == 1 else ()
        rows = list(product(*((*values, *others) for values in self._values[family.name].values())))
        if labels and len(rows) <= _MAX_PRESET:  # a rate needs its zero
            for row in rows:
                counter.labels(*row)
        return counter

    def _guard(self, name: str, labels: Mapping[str, str]) -> list[str]:
        allowed = self._values[name]
        if labels.keys() != allowed.keys():
            raise ValueError(f"{name} has the labels {sorted(allowed)}, not {sorted(labels)}")
        return [labels[label] if labels[label] in values else OTHER for label, values in allowed.items()]

    def _series(self, name: str, labels: Mapping[str, str]) -> Counter | Gauge | Histogram:
        if not labels and not self._families[name].labels:
            return self._metrics[name]
        key = (name, *labels.items())
        if (known := self._known.get(key)) is None:
            values = self._guard(name, labels)
            known = self._metrics[name].labels(*values)
            if OTHER not in values:
                self._known[key] = known
        return known

    def add(self, name: str, amount: float = 1, **labels: str) -> None:
        """Add to a counter or a gauge.

        Raises:
            ValueError: the amount is not finite (one NaN would spoil a counter for ever), or negative for a counter.
        """
        series = self._series(name, labels)
        if isinstance(series, Histogram) or not math.isfinite(amount):
            raise ValueError(f"cannot add {amount} to {name}")
        series.inc(amount)

    def set(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge."""
        series = self._series(name, labels)
        if not isinstance(series, Gauge):
            raise ValueError(f"{name} is not a gauge")
        series.set(value)

    def choose(self, name: str, label: str, chosen: str) -> None:
        """Set a gauge with one label to 1 at the chosen value and to 0 elsewhere."""
        self.fill(name, label, {chosen: 1.0})

    def fill(self, name: str, label: str, numbers: Mapping[str, float]) -> None:
        """Set a gauge with one label as a whole: values that are not named become 0, unknown ones add up in "other"."""
        sums = dict.fromkeys((*self._values[name][label], OTHER), 0.0)
        for value, number in numbers.items():
            sums[self._guard(name, {label: value})[0]] += number
        for value, number in sums.items():
            if number or value != OTHER or name in self._others:  # nobody was ever something else: no series of it
                self.set(name, number, **{label: value})
        if sums[OTHER]:
            self._others.add(name)

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Put a value into a histogram.

        Raises:
            ValueError: not finite, or negative (a clock that was set back).
        """
        series = self._series(name, labels)
        if not isinstance(series, Histogram) or not math.isfinite(value) or value < 0:
            raise ValueError(f"cannot observe {value} in {name}")
        series.observe(value)

    def on_scrape(self, name: str, read: Callable[[], Samples]) -> None:
        """Show what `read` returns whenever the page is asked for; it runs in the page's thread."""
        self._registry.register(_OnScrape(self._prefix, self._families[name], read))

    def values(self, name: str) -> list[dict[str, object]]:
        """What a counter stands at: for each of its series, the labels and `value`."""
        found = self._registry.collect()
        full = self._prefix + name.removesuffix("_total")
        return [
            {**sample.labels, "value": sample.value}
            for metric in found
            if metric.name == full
            for sample in metric.samples
            if sample.name == self._prefix + name
        ]

    def render(self) -> bytes:
        """The page, in Prometheus' text format (`CONTENT_TYPE`)."""
        return generate_latest(_WithoutCreated(self._registry))  # pyright: ignore[reportArgumentType]


class _OnScrape:
    """A family whose values live elsewhere."""

    def __init__(self, prefix: str, family: Family, read: Callable[[], Samples]) -> None:
        self._name, self._family, self._read = prefix + family.name, family, read

    def collect(self) -> Iterable[Metric]:
        kind = CounterMetricFamily if self._family.kind == "counter" else GaugeMetricFamily
        metric = kind(self._name, self._family.meaning, labels=list(self._family.labels))
        nothing: Samples = ()
        for labels, value in measured(lambda: list(self._read()), nothing):
            metric.add_metric(labels, value)
        yield metric


class _WithoutCreated:
    """Leaves out the `_created` series, which double the page and say when the process started."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterable[Metric]:
        for metric in self._registry.collect():
            metric.samples = [sample for sample in metric.samples if not sample.name.endswith("_created")]
            yield metric


def resident_bytes(status: Path = Path("/proc/self/status")) -> Samples:
    """Resident memory by kind (anon, shmem, file) in bytes; nothing where the system does not tell."""
    try:
        lines = status.read_text().splitlines()
    except OSError:
        return []
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    names = {"anon": "RssAnon", "shmem": "RssShmem", "file": "RssFile"}
    return [((kind,), 1024 * int(fields[name].split()[0])) for kind, name in names.items() if name in fields]


def markdown(prefix: str, families: Iterable[Family]) -> str:
    """The table of docs/metrics.md: one row for each family."""
    rows = ["| Name | Type | Labels | Meaning |", "|---|---|---|---|"]
    for family in families:
        labels = "<br>".join(
            f"`{label}`: {', '.join(values)}" if values else f"`{label}`" for label, values in family.labels.items()
        )
        rows.append(f"| `{prefix}{family.name}` | {family.kind} | {labels} | {family.meaning} |")
    return "\n".join(rows) + "\n"
