"""What a run looked like: its summary as JSON, and a page with charts that needs nothing but itself."""
