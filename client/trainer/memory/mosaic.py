"""Four images at half resolution in the bytes of one.

An image is averaged over 2 x 2 pixels and kept as bytes; when it is drawn it is enlarged between its pixels. More
examples at less detail: what a small memory lacks is rather variety than sharpness. Labels, ids and logits are kept for
each of the four, so a slot costs a few dozen bytes more than one of whole images.

New examples are seen at half resolution too (`Form.seen`): measured without that, the model told old from new by how
sharp an image is, and lost 20 points.
"""

from __future__ import annotations

from roughfed.client.trainer.examples.buffer_format import Form
from roughfed.client.trainer.examples.replay_buffer import ReplayBuffer, by_rank, memory_hooks
from roughfed.client.trainer.parts import Context, Hooks, Options, Plan


def mosaic(options: Options, context: Context, plan: Plan) -> Hooks:
    """The part; size is in slots of one whole image's bytes."""
    kept = ReplayBuffer("mosaic", int(options["size"]), context, order=by_rank, form=Form(halved=True))
    return memory_hooks(kept, context, plan)
