"""A policy as people write it → `PolicyDefinition`, or every fault at once."""
