"""The ports: gRPC on one side, the rooms of the server on the other."""
