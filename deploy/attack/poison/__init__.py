"""Poisoned updates: what a hostile client trains on, and what it sends of it. An attack is one function and one row.

Pure: no files, no sockets, no torch. `roughfed.deploy.attack` makes client processes of the rows; a trial in one
process calls `POISONS[name].craft(Scene(...))`. Where an attack has a strength, it is a strong published one.
"""

from __future__ import annotations

from roughfed.deploy.attack.poison import alie, broken, farthest, free, ipm, mimic, noises, turned, twins
from roughfed.deploy.attack.poison.scene import Colludes, Data, Poison, Scene
from roughfed.deploy.attack.poison.turned import times

__all__ = ["POISONS", "Colludes", "Data", "Poison", "Scene", "times"]

_TOLPEGIN = "Tolpegin et al., ESORICS 2020, 2007.08432"
_BLANCHARD = "Blanchard et al., NeurIPS 2017, 1703.02757"
_LI = "Li et al., AAAI 2019, 1811.03761"
_SHEJWALKAR = "Shejwalkar & Houmansadr, NDSS 2021"
_XIE = "Xie et al., UAI 2019, 1903.03936"
_LIN = "Lin et al., 1911.12560"
_FRABONI = "Fraboni et al., AISTATS 2021, 2006.11901"
_OWN = "no paper: any client can"
_CLAIM = 10**12

POISONS: dict[str, Poison] = {
    "label-flip": Poison("trains with the labels C - 1 - y", _TOLPEGIN, data="flip"),
    "targeted-flip": Poison("trains with one class labelled as another", _TOLPEGIN, data="target"),
    "sign-flip": Poison("sends its delta turned round", _LI, times(-1.0)),
    "sign-flip-10": Poison("sends its delta turned round, ten times as large", _LI, times(-10.0)),
    "gaussian": Poison("sends noise as long as an update", _BLANCHARD, noises.gaussian),
    "alie": Poison(
        "sends the mean minus 1.5 standard deviations, or more",
        "Baruch et al., NeurIPS 2019, 1902.06156",
        alie.alie,
        colludes="must",
        counts=True,
    ),
    "ipm": Poison("sends minus half the mean", _XIE, ipm.ipm(0.5), colludes="may"),
    "ipm-10": Poison("sends minus ten times the mean", _XIE, ipm.ipm(10.0), colludes="may"),
    "min-max": Poison(
        "goes as far as the two honest updates are apart that differ most",
        _SHEJWALKAR,
        farthest.min_max,
        colludes="must",
    ),
    "min-sum": Poison(
        "goes as far as an honest update is from all others", _SHEJWALKAR, farthest.min_sum, colludes="must"
    ),
    "mimic": Poison(
        "copies the honest update that differs most",
        "Karimireddy et al., ICLR 2022, 2006.09365",
        mimic.mimic,
        colludes="must",
    ),
    "backdoor": Poison(
        "trains a patch to mean one class, and sends n/f times the delta",
        "Bagdasaryan et al., AISTATS 2020, 1807.00459",
        turned.replace_model,
        data="trigger",
        counts=True,
    ),
    "free-zero": Poison("trains nothing and sends zeros", _FRABONI, free.zero),
    "free-noise": Poison("trains nothing and sends noise of the last global step's scale", _FRABONI, noises.free_noise),
    "free-replay-global": Poison("trains nothing and sends the last global step again", _LIN, free.replay_global),
    "free-replay-own": Poison("trains once and sends that update for ever", _LIN, free.replay_own),
    "nan": Poison("sends a value that is no number", _OWN, broken.not_a_number, refused="not-finite"),
    "huge": Poison("sends values of 1e30", _OWN, broken.huge, refused="magnitude"),
    "wrong-shape": Poison("sends one value less than the model has", _OWN, broken.wrong_shape, refused="schema"),
    "inflated-count": Poison("sends its delta turned round and claims 1e12 examples", _OWN, times(-1.0), claims=_CLAIM),
    "twins": Poison(
        "trains with the labels C - 1 - y; all colluders send the same update",
        "Fung et al., RAID 2020, 1808.04866",
        twins.first_fellow,
        data="flip",
        colludes="must",
    ),
}
