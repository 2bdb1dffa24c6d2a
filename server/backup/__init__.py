"""A copy of the state directory while rounds go on, and what must happen before a server may run on one."""
