"""The channel to the server: calls, why they fail, and when to try again."""
