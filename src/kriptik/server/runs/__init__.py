"""The run state machine: `reconciler` loads a view, the state's file decides, `effects` applies. One file per state with work."""
