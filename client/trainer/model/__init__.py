"""The model as the trainer holds it: tensors, head, adapters, and which of them learn."""
