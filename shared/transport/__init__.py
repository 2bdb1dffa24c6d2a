"""Moving bytes: channel options and patience. No gRPC types: the two rpc.py own those."""
