"""roughfed.client.trainer: the child process that trains. It imports torch and the user's code, never grpc.

`__main__` answers requests, `link` is its socket, `operations` what it can do, `loop` the SGD loop.
"""
