"""A model on a frozen base: low-rank adapters beside its layers, and tensors that stay as they are.

LoRA (Hu et al., ICLR 2022); what it is and what travels is said in `roughfed.adapters`. Which layers have adapters,
and of which rank, follows from the names and shapes in the files: the base's and the round's.

An adapted weight is a torch parametrization: whoever reads `layer.weight` gets W + scale B A, be it the layer itself,
attention that looks into its projections, or the code of a user. o outputs, i inputs, r the rank.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from types import MethodType
from typing import cast

from torch import Tensor, nn
from torch.nn.utils import parametrize

from roughfed.adapters import WEIGHT, adapted_spec, ranks_in
from roughfed.client.trainer.model.model_file import read_rows
from roughfed.client.trainer.model.tensors import FROZEN, load_flat, map_flat, named_state, spec_of
from roughfed.client.trainer.torch_types import named_modules
from roughfed.errors import ConfigError
from roughfed.params import explain_difference
from roughfed.training import BaseFile
from roughfed.types import Spec, TensorSpec


class LowRank(nn.Module):
    """W -> W + scale B A."""

    def __init__(self, weight: Tensor, rank: int, scale: float) -> None:
        """A is uniform in +-1 / sqrt(i), as in the authors' code, and B zero.

        Args:
            weight: W [o, ...], as many inputs as the rest of its shape makes.
            rank: r.
            scale: alpha / r.
        """
        super().__init__()
        inputs = weight[0].numel()
        bound = inputs**-0.5
        self.lora_a = nn.Parameter(weight.detach().new_empty(rank, inputs).uniform_(-bound, bound))
        self.lora_b = nn.Parameter(weight.detach().new_zeros(len(weight), rank))
        self.scale = scale

    def forward(self, weight: Tensor) -> Tensor:
        """The weight that the layer works with."""
        return weight + self.scale * (self.lora_b @ self.lora_a).reshape(weight.shape)


def adaptable(model: nn.Module) -> list[str]:
    """Names of the weights that can have an adapter: of linear layers and convolutions, each used in one place only.

    A tied weight is left out: an adapter would change it in one of its places.
    """
    uses: dict[int, int] = {}
    for module in model.modules():
        for tensor in module.parameters(recurse=False):
            uses[id(tensor)] = uses.get(id(tensor), 0) + 1
    found: list[str] = []
    for name, module in named_modules(model):
        known = isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d)
        if known and not parametrize.is_parametrized(module) and uses[id(module.weight)] == 1:
            found.append(f"{name}.{WEIGHT}" if name else WEIGHT)
    return found


def stand_on(model: nn.Module, base: BaseFile, params: Iterable[TensorSpec] = ()) -> None:
    """Put a model on a frozen base, in place: adapters beside its layers, the base's values in the rest, and no grads.

    Args:
        model: fresh, without adapters.
        base: the base's file.
        params: tensors that travel; they name the adapters that are trained.

    Raises:
        ConfigError: the base, or an adapter, does not fit the model.
        StorageError: the file cannot be read.
    """
    frozen = read_rows(base.path)
    ranks = ranks_in([*params, *frozen])
    if strangers := sorted(ranks.keys() - set(adaptable(model))):
        raise ConfigError(f"no linear layer or convolution of the model has the weight {strangers[0]}", key="model")
    adapted_spec(spec_of(model), ranks)  # refuses names that are taken
    for name, rank in ranks.items():
        layer = model.get_submodule(name.removesuffix(WEIGHT).removesuffix("."))
        weight = cast(Tensor, layer.weight)
        parametrize.register_parametrization(layer, WEIGHT, LowRank(weight, rank, base.scale))
    names = {t.name for t in frozen}
    spec = Spec(tuple(t for t in spec_of(model).tensors if t.name in names))
    if problems := explain_difference(Spec(tuple(map(plain, spec.tensors))), Spec(tuple(map(plain, frozen)))):
        raise ConfigError(f"{base.path} is the base of another model: {'; '.join(problems)}", key="model")
    load_flat(model, spec, map_flat(base.path, spec))
    freeze(model, names)


def plain(row: TensorSpec) -> TensorSpec:
    """Name and shape of a tensor: what a model file says of it."""
    return TensorSpec(row.name, row.shape)


def freeze(model: nn.Module, names: Collection[str]) -> None:
    """Take these tensors out of all training: no gradient, and no module that measures one anew.

    A normalisation whose running statistics are frozen goes by them, in training as well: it stays in the mode of an
    evaluation, also in copies of the model, whatever `train()` says.
    """
    setattr(model, FROZEN, frozenset(names))
    tensors = {id(tensor) for name, tensor in named_state(model) if name in names}
    for module in model.modules():
        for parameter in module.parameters(recurse=False):
            if id(parameter) in tensors:
                parameter.requires_grad_(False)
        if any(id(buffer) in tensors for buffer in module.buffers(recurse=False)):
            module.eval()
            module.train = MethodType(_stay, module)


def _stay(module: nn.Module, mode: bool = True) -> nn.Module:
    """`train` of a module that goes by what is frozen."""
    del mode
    for child in module.children():
        child.eval()
    return module
