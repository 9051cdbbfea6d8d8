"""The control plane: routes, event stream and the run state machine."""
