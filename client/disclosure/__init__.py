"""What this client shows: the limits, the record of what was shown, and the mode."""
