"""The command line and the Python client; both speak to the HTTP API."""
