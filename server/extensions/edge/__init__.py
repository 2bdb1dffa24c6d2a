"""An edge aggregator: its rounds begin with the model of the federation above it, and its sums go up."""
