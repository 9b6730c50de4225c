"""Topics followed: snapshots to decide with, and the switches of operators."""
