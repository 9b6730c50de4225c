"""The past counted again by other rules."""
