"""Faults on a real Kafka, while events flow: nothing is lost, nothing counts twice. See README.md here."""
