"""One decision: which arms, which weights, which arm, and why."""
