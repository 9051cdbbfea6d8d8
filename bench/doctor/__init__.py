"""What the data doctor's benchmark injects."""
