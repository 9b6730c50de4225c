"""Ask a serving node from Python.

    core.py       requests and answers, without IO                            PURE
    http.py       `NodeClient` and `AsyncNodeClient`, on httpx (the extra `client`)

>>> from pipeline.client.http import NodeClient                               # doctest: +SKIP
>>> with NodeClient("http://127.0.0.1:8080", key=KEY) as node:                # doctest: +SKIP
...     shown = node.ask(node.calls.decide("homepage", {"visits": 1}))
...     node.ask(node.calls.outcome(shown.action_id, "click"))
"""
