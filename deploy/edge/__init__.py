"""The edge aggregator: a server to its clients and a client to the federation above, in one process."""
