"""TLS of the node's listener: its certificate, and whose certificates stand for keys; files that may change."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any

from pipeline.errors import ConfigError
from pipeline.serve.settings import ServeSettings


class Tls:
    """The context that new connections are begun with."""

    def __init__(self, settings: ServeSettings) -> None:
        """Raise ConfigError where the files can't be used."""
        self._settings = settings
        self._present = self._read()
        self.listener = self._read()
        """What the listener keeps: it hands each handshake to the present one, when the other side has said hello."""
        self.listener.sni_callback = self._hand_over

    def renew(self) -> None:
        """Read the files again.

        Raises:
            ConfigError: they can't be used.
        """
        self._present = self._read()

    def _hand_over(self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        connection.context = self._present

    def _read(self) -> ssl.SSLContext:
        settings = self._settings
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            context.load_cert_chain(str(settings.tls_certificate), str(settings.tls_key))
        except (ssl.SSLError, OSError) as error:
            raise ConfigError(
                "serving node settings",
                [f"tls_certificate, tls_key: {settings.tls_certificate} can't be used ({error})"],
            ) from error
        if settings.tls_client_ca is not None:
            # A caller may also come with a key alone; who has neither is refused where keys are asked for.
            context.verify_mode = ssl.CERT_OPTIONAL
            try:
                context.load_verify_locations(settings.tls_client_ca)
            except (ssl.SSLError, OSError) as error:
                raise ConfigError(
                    "serving node settings", [f"tls_client_ca: {settings.tls_client_ca} can't be used ({error})"]
                ) from error
        return context


def names_of(certificate: Mapping[str, Any] | None) -> tuple[str, ...]:
    """Return what a verified certificate names: its alternative names, or without any its common name.

    >>> names_of({"subjectAltName": (("DNS", "shop.internal"), ("URI", "spiffe://shop"))})
    ('shop.internal', 'spiffe://shop')
    >>> names_of({"subject": ((("commonName", "shop"),),)}), names_of(None)
    (('shop',), ())
    """
    if not certificate:
        return ()
    others = tuple(value for kind, value in certificate.get("subjectAltName", ()) if kind in {"DNS", "URI", "email"})
    subject = (pair for group in certificate.get("subject", ()) for pair in group)
    return others or tuple(value for kind, value in subject if kind == "commonName")
