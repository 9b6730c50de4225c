"""Decisions and outcomes of months, loaded as history."""
