"""Pages of the site that are made of the code's own declarations when the site is built, and kept nowhere.

policy_file.py   every key of a policy file: what is accepted, by default, for example      docs/policy-file.md
commands.py      every command and option, from click                                       docs/commands.md
records.py       the records that producers and readers meet, field by field                docs/records.md
http.py          a node's routes, from the OpenAPI page's declarations                       docs/http.md
exported.py      the columns of what `pipeline export` writes                                docs/exported.md
reasons.py       why a record or a request is refused: cause and cure                        docs/reasons.md
"""
