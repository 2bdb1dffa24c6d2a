"""The state directory: the journal, its restore from a backup, and the secret of the directory."""
