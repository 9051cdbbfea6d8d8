"""Changing a plan in plain words: `reading` says what was asked, `applying` does it, and says what followed."""
