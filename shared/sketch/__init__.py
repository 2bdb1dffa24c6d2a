"""Sketches: a few numbers that speak for a masked upload, and can be checked against it."""
