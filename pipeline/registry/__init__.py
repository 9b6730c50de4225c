"""Which schema a record in a registry's frame was written by.

settings.py   where schemas are, and how their registry is spoken to
files.py      a folder of schemas
client.py     a registry with Confluent's API, over HTTP
lookup.py     ids → schemas: asked for once, kept, waited for while nobody answers
"""
