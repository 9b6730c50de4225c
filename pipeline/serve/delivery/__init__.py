"""What was decided, on its way to the broker."""
