"""Posteriors of what a reward is worth, by context or without: what algorithms stand on."""
