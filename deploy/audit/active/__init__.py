"""A server that cheats, over real agents: what it gets of one client before the client refuses.

It holds what any operator of a server holds, a certificate and a roster entry of the federation's CA, and the papers of
some members that collude; never the CA's key. What its clients are is not known to it but by what they send.
"""
