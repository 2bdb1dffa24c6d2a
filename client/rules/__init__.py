"""What the server may ask: held against the policy, the run and what was seen before."""
