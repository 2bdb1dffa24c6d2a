"""How a run begins, the trainer process beside the server, and the files of the model's versions."""
