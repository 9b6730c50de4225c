"""Bytes ↔ records: Avro single-object encoding by `schemas/*.avsc`, and JSON for producers who prefer it."""
