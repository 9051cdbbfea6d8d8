"""Where torch lives. `train.py` is where training happens."""
