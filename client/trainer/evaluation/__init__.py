"""Models held against held-out data."""
