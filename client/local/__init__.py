"""This machine: the trainer process, its settings, memory and GPU, and when it takes part."""
