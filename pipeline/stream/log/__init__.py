"""A partition's log: fetched, followed, claimed, written."""
