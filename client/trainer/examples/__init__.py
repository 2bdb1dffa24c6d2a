"""Examples: batches, draws, memories, and what is seen of them."""
