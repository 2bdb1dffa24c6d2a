"""Secure aggregation as machines without I/O: events in, messages out."""
