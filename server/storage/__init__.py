"""The journal, and the files that it speaks of."""
