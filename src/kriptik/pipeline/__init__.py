"""The verbs: pure functions from noun to noun. No I/O; clocks and models come in as arguments."""
