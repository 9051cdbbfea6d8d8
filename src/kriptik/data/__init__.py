"""Formats, chat mapping, duplicates and splits. No torch."""
