"""A bad network on purpose: `faults.py` decides what happens to which byte, `proxy.py` lets it happen."""
