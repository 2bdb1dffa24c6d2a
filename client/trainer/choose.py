"""Which parts train: those of the settings, held against what the model and the data can give."""

from __future__ import annotations

from roughfed.client.trainer.head import ends_in_head
from roughfed.client.trainer.parts import Context
from roughfed.errors import ConfigError, NotBuiltYet
from roughfed.methods import AUTO, Composition, missing, read_method


def composition_for(context: Context, *, allow_memory: bool) -> Composition:
    """The parts of this training.

    Raises:
        ConfigError: a part needs what this client does not have; says which part, and what.
    """
    text = context.settings.method
    if text == AUTO:
        raise NotBuiltYet("the method that a client chooses for itself is not built yet", key="trainer.method")
    composition = read_method(text)
    check(composition, context, allow_memory=allow_memory)
    return composition


def check(composition: Composition, context: Context, *, allow_memory: bool) -> None:
    """Hold a composition against this client.

    Raises:
        ConfigError: see `composition_for`.
    """
    if not composition.parts:
        return
    found = missing(composition, has(context, composition, allow_memory=allow_memory))
    if found:
        name, need = found[0]
        raise ConfigError(f"{name} needs {need}", key="trainer.method", cure=f"leave {name} out, or give it that")


def has(context: Context, composition: Composition, *, allow_memory: bool) -> set[str]:
    """What this client has of `roughfed.methods.NEEDS`; what the composition does not ask for is not looked for."""
    have = set(context.source.have) | ({"classes"} if context.num_classes else set[str]())
    have |= {"memory"} if allow_memory else set()
    have |= {"clean"} if context.clean is not None else set()
    have |= {"experts"} if hasattr(context.model, "each") else set()
    have |= {"tasks"} if context.task >= 0 else set()
    have |= {"transition"}  # the parts that take one say themselves what is wrong with it
    if composition.needs & {"images", "head"}:
        x = next(iter(context.source.epoch(2, None)))[0]
        have |= {"images"} if x.dim() == 4 else set()
        context.model.eval()
        have |= {"head"} if ends_in_head(context.model, x, context.num_classes) else set()
    return have
