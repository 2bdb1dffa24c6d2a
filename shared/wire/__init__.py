"""Values to bytes and back: the only package that touches generated messages (proto/v1)."""
