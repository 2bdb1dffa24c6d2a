"""Generated from proto/ by `make proto`; only wire.py and the two rpc.py import it."""
