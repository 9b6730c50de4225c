"""What was published, re-derived and compared."""
