"""What can be wrong with rows: one check per kind of finding, and the fixes."""
