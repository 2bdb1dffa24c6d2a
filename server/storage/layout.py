"""Names in the state directory that more than one room knows: who writes them, and who backs them up."""

LEDGER = "ledger.jsonl"
"""The ledger of contributions, a line for each client and round."""

SCORING_PLAN = "plan.json"
"""In `contribution/`: written last and deleted first, so with it the round that is to be scored is whole."""

SUMS = "sums"
"""Folder of an edge aggregator: the sums that it gave to the federation above."""
