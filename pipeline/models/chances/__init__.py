"""From posteriors to probabilities: which arm is the best, the floor, and the draw."""
