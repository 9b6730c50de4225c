"""One algorithm a file: exact statistics → posterior → arm probabilities."""
