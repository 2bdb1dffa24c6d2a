"""A thousand clients on one machine: the real server, agents, trainers, masks and journals, and no socket between them.

`run.py` plays a federation, top to bottom; `virtual.py` is one client, `link.py` its wire, `pool.py` (or `ray_pool.py`)
who trains for it, `seeded.py` the identities and secrets, which all follow from the seed.
"""
