"""The extensions of the rounds, a file or a folder each.

`table.py` says which there are, `roughfed.server.context.extension` at which moments of a round they are called.
"""
