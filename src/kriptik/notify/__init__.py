"""How people are told: one interface, one file per channel."""
