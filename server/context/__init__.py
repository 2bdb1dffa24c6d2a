"""What the rooms of the server share.

`server.ServerContext` lives as long as the process, `clients.ClientRegistry` knows the clients, `run_state.RunState`
says what the process is doing, `round_state.RoundState` what is known of the open round, and `extension.Extension` is
how features take part in rounds.
"""
