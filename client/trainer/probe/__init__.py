"""Looks at the local data, one for each way in which they can be rough. One file each, one row each."""

from __future__ import annotations

from collections.abc import Mapping

from roughfed.client.trainer.examples.probe_sample import Probe
from roughfed.client.trainer.probe.drift import drift
from roughfed.client.trainer.probe.labels import labels
from roughfed.client.trainer.probe.tail import tail

PROBES: Mapping[str, Probe] = {
    "long-tail": tail,
    "noisy": labels,
    "continual": drift,
}
