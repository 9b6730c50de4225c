"""The node's HTTP edge: server, protocol, routes, who may ask, and how often."""
