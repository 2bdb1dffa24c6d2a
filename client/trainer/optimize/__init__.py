"""Optimizers of the local steps."""
