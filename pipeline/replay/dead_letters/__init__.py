"""What was refused: read, chosen, sent again."""
