"""The ledger of contributions: a line for each client and round, chained by hashes, and what each client is given."""
