"""The pictures of the documents that are drawn from the code: each file prints one SVG, and a test compares."""
