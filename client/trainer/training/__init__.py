"""A local training, top to bottom: `loop`, the parts that it is composed of, and what goes with it."""
