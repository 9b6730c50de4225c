"""Exact sums: one row's statistics, and what is counted beside them."""
