"""What is trained: one file per adaptation."""
