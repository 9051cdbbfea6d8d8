"""Where compute comes from: one interface, one file per provider."""
