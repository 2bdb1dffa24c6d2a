"""Keys, certificates and proofs of identity; the primitives of secure aggregation.

Pure but for the key files: what is random or depends on time is an argument, except that fresh identity and TLS keys
come from `cryptography`, which asks the operating system. Tests inject keys through the `from_*` constructors.
"""
