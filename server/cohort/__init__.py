"""Who takes part in a round, who is waited for and how long, and what all of them are asked."""
