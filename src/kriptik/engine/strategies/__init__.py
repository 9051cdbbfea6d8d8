"""How the work is spread over processes: one file per strategy."""
