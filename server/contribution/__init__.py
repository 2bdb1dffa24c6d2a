"""What each client's part in the model was worth: a room with one file and one row for each way to say it."""
