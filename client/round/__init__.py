"""One job from its header to its receipt: `job` begins it, `steps` is the sequence."""
