"""Clients that take part without giving: found by their updates."""
