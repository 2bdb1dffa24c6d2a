"""What clients send: let in, checked, written to disk, acknowledged."""
