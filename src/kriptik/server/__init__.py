"""The control plane: routes, event stream and the run state machine. Start here: `app.py`, then `runs/reconciler.py`."""
