"""Masked rounds: the server's side of `roughfed.secagg`, all groups of a round, with journal and clock.

`stages` is the round as a machine (messages and facts in, messages out); `journal` keeps what it took, in order, and
plays it again after a restart; `drive` owns the clock and the streams; `opening` writes the header; `outcome` makes the
next model's step out of what the groups give.
"""
