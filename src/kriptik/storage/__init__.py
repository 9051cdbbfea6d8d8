"""Object storage: local folder or S3-compatible. No SQL."""
