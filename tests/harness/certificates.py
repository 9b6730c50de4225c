"""Certificates for tests, made by openssl: an authority, and what it says of a host."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import NamedTuple


class Issued(NamedTuple):
    """PEM files."""

    authority: Path
    certificate: Path
    key: Path


def issue(folder: Path, host: str) -> Issued:
    """Make an authority and a certificate of it for an IP address or a name."""
    folder.mkdir(parents=True, exist_ok=True)
    authority, authority_key = folder / "authority.pem", folder / "authority.key"
    certificate, key, request = folder / "node.pem", folder / "node.key", folder / "node.csr"
    extensions = folder / "node.ext"
    kind = "IP" if host.replace(".", "").isdigit() else "DNS"
    extensions.write_text(f"subjectAltName = {kind}:{host}\nextendedKeyUsage = serverAuth, clientAuth\n", "utf-8")
    new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    _openssl(
        *("req", "-x509", *new_key, "-days", "2", "-subj", "/CN=test authority"),
        *("-addext", "keyUsage = critical, keyCertSign", "-keyout", authority_key, "-out", authority),
    )
    _openssl("req", *new_key, "-subj", f"/CN={host}", "-keyout", key, "-out", request)
    _openssl(
        *("x509", "-req", "-in", request, "-days", "2", "-CA", authority, "-CAkey", authority_key),
        *("-CAcreateserial", "-extfile", extensions, "-out", certificate),
    )
    return Issued(authority, certificate, key)


def _openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)
