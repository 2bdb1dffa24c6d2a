"""SCAFFOLD, the client's half (Karimireddy et al., ICML 2020, https://arxiv.org/abs/1910.06378, algorithm 1).

Every step goes along g - c_i + c (line 10): c_i is this client's mean gradient in its last training, c that of all
clients. After K steps c_i+ is the mean of the K gradients: option II (line 12), which writes it as c_i - c + (x - y)
/ (K lr). That is the same number where steps are plain and of one length, and wrong by 1 / (1 - momentum) elsewhere.
What travels is s (c_i+ - c_i), s public (`config.trainer.TrainerSettings.scale`).

c_i moves only by what the server has taken into its c: when this client's update of that round counted, and by the
share of it that the clip let through. Otherwise c would no longer be the mean of the c_i, and the model would settle
beside the point that all clients agree on, for good.

After rounds that were taken back (docs/decisions/0027-restored-runs.md) all begin without a c_i, the server with c = 0.

Differs: the gradients may be those of a mean with momentum or weight decay behind them, which the paper does not treat;
and a client that has no c_i yet takes plain steps. With c_i = 0, as in the paper, the first training of a client that
joins late would go along g + c, about twice as far as everybody's.

P learned parameters of the shared model.
"""

from __future__ import annotations

import torch
from torch import Tensor

from roughfed.client.trainer.optimize.sgd import add_
from roughfed.client.trainer.parts import Context, Controls, Hooks, Options, Plan, Tensors
from roughfed.errors import ConfigError


def scaffold(_options: Options, context: Context, _plan: Plan) -> Hooks:
    """The part; its option is the server's business."""
    state = context.state("scaffold")
    named = dict(context.model.named_parameters())
    names = () if context.scope.controls is None else tuple(context.scope.controls.now)
    params = [named[name] for name in names]
    sums = [torch.zeros_like(p, dtype=torch.float32) for p in params]
    counts = [0] * len(params)
    corrections: list[Tensor] = []

    def begin() -> None:
        controls = controls_of(context)
        forget(state, controls)
        settle(state, controls)
        if "own" in state:
            own = state["own"] = state["own"].to(context.device)
            rows = zip(params, torch.split(flat(controls.now) - own, [p.numel() for p in params]), strict=True)
            corrections[:] = [part.reshape(p.shape).to(p.dtype) for p, part in rows]

    @torch.no_grad()
    def gradient() -> None:
        moved = [(at, p.grad) for at, p in enumerate(params) if p.grad is not None]
        if not moved:
            return
        add_([sums[at] for at, _ in moved], [grad.float() for _, grad in moved])
        for at, _ in moved:
            counts[at] += 1
        if corrections:
            add_([grad for _, grad in moved], [corrections[at] for at, _ in moved])

    def end() -> dict[str, float]:
        controls = controls_of(context)
        own = state.get("own", torch.zeros_like(flat(controls.now)))
        rows = zip(sums, counts, torch.split(own, [p.numel() for p in params]), strict=True)
        found = [total.reshape(-1) / count if count else before for total, count, before in rows]
        state["next"], state["round"] = torch.cat(found), torch.tensor(context.round)
        controls.change = controls.scale * (state["next"] - own)
        return {}

    return Hooks(begin=begin, gradient=gradient, end=end)


def forget(state: Tensors, controls: Controls) -> None:
    """Have no c_i any more if rounds were taken back that it was made of: the server's c does without them, too."""
    if int(state.get("since", torch.tensor(0))) != controls.since:
        state.clear()
        state["since"] = torch.tensor(controls.since)


def settle(state: Tensors, controls: Controls) -> None:
    """Take the last training's c_i+ for c_i, as far as it counted."""
    if "round" not in state:
        return
    found, number = state.pop("next"), int(state.pop("round"))
    if (share := controls.said.get(number)) is not None:
        own = state.get("own", torch.zeros_like(found))
        state["own"] = own + share * (found - own)


def flat(tensors: Tensors) -> Tensor:
    """One after another, float32 [P]."""
    return torch.cat([tensor.reshape(-1) for tensor in tensors.values()])


def controls_of(context: Context) -> Controls:
    """The control variates that came with the model.

    Raises:
        ConfigError: none came.
    """
    if context.scope.controls is None:
        raise ConfigError("scaffold needs the control variates of all clients", key="trainer.method")
    return context.scope.controls
