"""One person's records, taken back."""
