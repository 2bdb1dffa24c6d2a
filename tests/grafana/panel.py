"""What a panel and a row of the dashboard are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

SERVER = 'job=~"$job",instance=~"$instance"'
"""Label matchers of a server's series."""
CLIENT = 'instance=~"$client"'
"""Label matchers of the series that a client's own page has."""

Kind = Literal["timeseries", "stat", "table", "state-timeline"]


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel.

    Attributes:
        title: its heading.
        unit: of Grafana's units, for instance "s" or "percentunit".
        about: one or two sentences on what is seen, shown at the heading.
        queries: PromQL -> legend; the legend may name labels, as {{label}}.
        kind: Grafana's panel type.
        width: in 24ths of the dashboard.
        stacked: lines of a time series add up.
        names: of values, shown in place of them.
        least: lower end of the axis; None where the values decide.
        most: upper end likewise.
    """

    title: str
    unit: str
    about: str
    queries: Mapping[str, str]
    kind: Kind = "timeseries"
    width: int = 8
    stacked: bool = False
    names: Mapping[str, str] = field(default_factory=dict[str, str])
    least: float | None = None
    most: float | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """Panels under one heading; folded rows are read by Prometheus only when they are opened."""

    title: str
    panels: tuple[Panel, ...]
    folded: bool = False


def of_server(name: str, **labels: str) -> str:
    """A selector of a server's series; label values are exact."""
    return _selector(name, SERVER, labels)


def of_client(name: str, **labels: str) -> str:
    """A selector of the series of clients' own pages."""
    return _selector(name, CLIENT, labels)


def quantile(share: float, histogram: str, by: str = "", *, client: bool = False) -> str:
    """The quantile of a histogram over the panel's interval, by some labels."""
    select = of_client if client else of_server
    labels = f"{by}, le" if by else "le"
    return f"histogram_quantile({share}, sum by ({labels}) (rate({select(f'{histogram}_bucket')}[$__rate_interval])))"


def rate(counter: str, by: str, *, client: bool = False, **labels: str) -> str:
    """Increase per second of a counter over the panel's interval, by some labels."""
    select = of_client if client else of_server
    return f"sum by ({by}) (rate({select(counter, **labels)}[$__rate_interval]))"


def grown(counter: str, by: str, **labels: str) -> str:
    """Increase of a counter within the panel's interval, by some labels."""
    return f"sum by ({by}) (increase({of_server(counter, **labels)}[$__rate_interval]))"


def _selector(name: str, matchers: str, labels: Mapping[str, str]) -> str:
    exact = [f'{label}="{value}"' for label, value in labels.items()]
    return f"{name}{{{','.join([matchers, *exact])}}}"
