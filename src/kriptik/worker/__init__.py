"""The process that trains: spool, lease, dead-man switch. Imports torch only after its first event is written."""
