"""Keys, certificates and proofs of identity.

Pure but for the key files: what is random or depends on time is an argument, except that fresh key pairs come from
`cryptography`, which asks the operating system. Tests inject keys through the `from_*` constructors.
"""
