"""Rows that are made: out of documents, by a model, or of answers that somebody compares. Every row says where it is from."""
