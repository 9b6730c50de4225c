"""The same security, as Faust takes it."""

from __future__ import annotations

import faust

from pipeline.stream.security import Address, security_of


def faust_credentials(broker: Address) -> faust.Credentials | None:
    """Return Faust's credentials for a broker; None: plain text.

    Faust speaks TLS with SASL only if it is given a context: without one, SASL_SSL would silently be plain text.
    """
    security = security_of(broker)
    if security.has_sasl:
        return faust.SASLCredentials(
            username=security.username,
            password=security.secret(),
            mechanism=security.sasl_mechanism,
            ssl_context=security.ssl_context(),
        )
    return faust.SSLCredentials(security.ssl_context()) if security.is_encrypted else None
