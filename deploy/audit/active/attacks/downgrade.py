"""Another mode than the clients know: after masked rounds, the server says that it sees updates."""

from __future__ import annotations

import numpy as np

from roughfed.deploy.audit.active.attack import ActiveAttack, judged, word
from roughfed.deploy.audit.active.result import Loot
from roughfed.deploy.audit.active.round import play
from roughfed.deploy.audit.active.scene import VICTIM, AttackScene, model
from roughfed.deploy.audit.active.server import AttackRefused


async def downgrade(scene: AttackScene) -> Loot:
    """A round in "sketches", a reconnect, and a job in the clear for one client."""
    server = scene.server
    server.sees = "sketches"
    norm = 2 * scene.usual_norm()
    await play(server, server.open(model(), len(scene.clients), clip_norm=norm), scene.clients)
    server.sees = "updates"
    try:
        await server.greet_again([VICTIM])
        opened = server.open(model(1), 1)
        server.ask([VICTIM], opened)
        _, data = await server.upload(VICTIM, opened)
    except AttackRefused as refused:
        return judged(scene, None, 2, (word(refused),))
    return judged(scene, np.frombuffer(data, dtype="<f4").copy(), 2)


DOWNGRADE = ActiveAttack("downgrade", 'after a masked round, the server says that it sees "updates"', 4, 0, downgrade)
