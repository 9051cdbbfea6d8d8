"""Reads a request into a `TrainingIntent`, offline: no network, no model, the same answer every time."""
