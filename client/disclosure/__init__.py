"""What this client shows: the limits, the ledger of what was shown, and the mode."""
