"""Poisoned updates: what a hostile client trains on, and what it sends of it. An attack is one function and one row.

Pure: no files, no sockets, no torch. `roughfed.deploy.attack` makes client processes of the rows; a trial in one
process calls `POISONS[name].craft(Scene(...))`. Where an attack has a strength, it is a strong published one.
"""

from __future__ import annotations

from roughfed.deploy.attack.poison import alie, broken, farthest, free, ipm, mimic, noises, turned, twins
from roughfed.deploy.attack.poison.scene import Colludes, Data, Poison, PoisonContext
from roughfed.deploy.attack.poison.turned import times

__all__ = ["POISONS", "Colludes", "Data", "Poison", "PoisonContext", "times"]

_BAGDASARYAN = "Bagdasaryan et al., AISTATS 2020, 1807.00459"
_BARUCH = "Baruch et al., NeurIPS 2019, 1902.06156"
_BLANCHARD = "Blanchard et al., NeurIPS 2017, 1703.02757"
_FRABONI = "Fraboni et al., AISTATS 2021, 2006.11901"
_FUNG = "Fung et al., RAID 2020, 1808.04866"
_KARIMIREDDY = "Karimireddy et al., ICLR 2022, 2006.09365"
_LI = "Li et al., AAAI 2019, 1811.03761"
_LIN = "Lin et al., 1911.12560"
_SHEJWALKAR = "Shejwalkar & Houmansadr, NDSS 2021"
_TOLPEGIN = "Tolpegin et al., ESORICS 2020, 2007.08432"
_WANG = "Wang et al., NeurIPS 2020, 2007.05084"
_XIE = "Xie et al., UAI 2019, 1903.03936"
_XIE_DBA = "Xie et al., ICLR 2020"
_ZHANG = "Zhang et al., ICML 2022, 2206.10341"
_ANYBODY = "no paper: any client can"

_THEIRS = "the colluders' updates"
_STEP = "the global models of two rounds"
_CLIPPED = "clipped to half of C"
_CLAIM = 10**12

_FLIPPED = "trains with the labels C - 1 - y"

POISONS: dict[str, Poison] = {
    "label-flip": Poison(_FLIPPED, _TOLPEGIN, data="flip"),
    "targeted-flip": Poison("trains with one class labelled as another", _TOLPEGIN, data="target"),
    "sign-flip": Poison("sends its delta turned round", _LI, times(-1.0)),
    "sign-flip-10": Poison("sends its delta turned round, ten times as large", _LI, times(-10.0), masked=_CLIPPED),
    "gaussian": Poison("sends noise as long as an update", _BLANCHARD, noises.gaussian),
    "alie": Poison(
        "sends the mean minus 1.5 standard deviations, or more",
        _BARUCH,
        alie.alie,
        colludes="must",
        counts=True,
        knows=_THEIRS,
    ),
    "ipm": Poison("sends minus half the mean", _XIE, ipm.ipm(0.5), colludes="may", knows=_THEIRS),
    "ipm-10": Poison(
        "sends minus ten times the mean", _XIE, ipm.ipm(10.0), colludes="may", knows=_THEIRS, masked=_CLIPPED
    ),
    "min-max": Poison(
        "goes as far as the two updates are apart that differ most",
        _SHEJWALKAR,
        farthest.min_max,
        colludes="must",
        knows=_THEIRS,
    ),
    "min-sum": Poison(
        "goes as far as one update is from all others", _SHEJWALKAR, farthest.min_sum, colludes="must", knows=_THEIRS
    ),
    "mimic": Poison("copies the update that differs most", _KARIMIREDDY, mimic.mimic, colludes="must", knows=_THEIRS),
    "backdoor": Poison(
        "trains a patch to mean one class, and sends n/f times the delta",
        _BAGDASARYAN,
        turned.replace_model,
        data="trigger",
        counts=True,
        masked=_CLIPPED,
    ),
    "dba": Poison(
        "trains a quarter of the patch (`--part`) to mean one class, and sends n/f times the delta",
        _XIE_DBA,
        turned.replace_model,
        data="part",
        counts=True,
        masked=_CLIPPED,
    ),
    "edge-case": Poison(
        "trains one class upside down, which nobody else has, to mean another, and sends n/f times the delta",
        _WANG,
        turned.replace_model,
        data="edge",
        counts=True,
        masked=_CLIPPED,
    ),
    "neurotoxin": Poison(
        "trains the patch, and leaves the coordinates alone that the last global step moved most",
        _ZHANG,
        turned.neurotoxin,
        data="trigger",
        counts=True,
        knows="its own update; " + _STEP,
        masked=_CLIPPED,
    ),
    "free-zero": Poison("trains nothing and sends zeros", _FRABONI, free.zero, knows="nothing"),
    "free-noise": Poison(
        "trains nothing and sends noise of the last global step's scale", _FRABONI, noises.free_noise, knows=_STEP
    ),
    "free-replay-global": Poison(
        "trains nothing and sends the last global step again", _LIN, free.replay_global, knows=_STEP
    ),
    "free-replay-own": Poison(
        "trains once and sends that update for ever", _LIN, free.replay_own, knows="its first update"
    ),
    "nan": Poison(
        "sends a value that is no number",
        _ANYBODY,
        broken.not_a_number,
        refused="not-finite",
        masked="cannot be encoded: the client sends zeros, and the server hears nothing of it",
    ),
    "huge": Poison("sends values of 1e30", _ANYBODY, broken.huge, refused="magnitude", masked=_CLIPPED),
    "wrong-shape": Poison(
        "uploads one value less than it should",
        _ANYBODY,
        broken.wrong_shape,
        refused="schema",
        masked="refused: `schema`",
    ),
    "inflated-count": Poison(
        "sends its delta turned round and claims 1e12 examples",
        _ANYBODY,
        times(-1.0),
        claims=_CLAIM,
        capped="weighs 3 times the median at most",
        masked="counts are not sent",
    ),
    "twins": Poison(
        _FLIPPED + "; all colluders send one update",
        _FUNG,
        twins.first_fellow,
        data="flip",
        colludes="must",
        knows=_THEIRS,
    ),
}
