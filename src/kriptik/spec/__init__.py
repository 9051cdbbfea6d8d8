"""The nouns: what a request, a plan, a job and an event are. Pydantic only, no I/O, importable anywhere."""
