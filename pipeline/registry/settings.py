"""How a registry is spoken to: one frozen setting; secrets come from the environment or files, never from flags."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from pipeline.errors import ConfigError

PREFIX = "PIPELINE_REGISTRY_"
# Options with a twin of this prefix, which say nothing of how it is spoken to.
_OPTIONS = frozenset({"schemas", "id"})


@dataclass(frozen=True, slots=True)
class RegistrySettings:
    """Where schemas are. Each field but the first two is an environment variable: PIPELINE_REGISTRY_CA_FILE."""

    urls: tuple[str, ...] = ()
    """Base addresses of one registry's servers, asked in turn; none: no registry."""
    folder: Path | None = None
    """Where schema files lie; None: nowhere."""
    username: str = ""
    """For basic authentication."""
    password: str = field(default="", repr=False)
    """With a username; or in a file."""
    password_file: str = ""
    """File that holds it; a newline at its end does not count."""
    token: str = field(default="", repr=False)
    """A bearer token; or in a file."""
    token_file: str = ""
    """File that holds it."""
    ca_file: str = ""
    """PEM file of the authorities that vouch for the registry; empty: the system's."""
    certificate_file: str = ""
    """PEM file of this client's certificate, where the registry asks for one."""
    key_file: str = ""
    """PEM file of its private key."""

    def __post_init__(self) -> None:
        faults = [fault for url in self.urls for fault in _url_faults(url)]
        if self.username and bool(self.password) == bool(self.password_file):
            faults.append(f"{PREFIX}PASSWORD, {PREFIX}PASSWORD_FILE: one of the two is needed with a username")
        if not self.username and (self.password or self.password_file):
            faults.append(f"{PREFIX}USERNAME: is missing beside a password")
        if self.token and self.token_file:
            faults.append(f"{PREFIX}TOKEN, {PREFIX}TOKEN_FILE: one of the two")
        if self.username and (self.token or self.token_file):
            faults.append(f"{PREFIX}USERNAME, {PREFIX}TOKEN: one way to authenticate")
        for name in ("password_file", "token_file", "ca_file", "certificate_file", "key_file"):
            path = getattr(self, name)
            if path and not Path(path).is_file():
                faults.append(f"{PREFIX}{name.upper()}: there is no file {path}")
        if self.folder is not None and not self.folder.is_dir():
            faults.append(f"--registry-schemas: there is no folder {self.folder}")
        if faults:
            raise ConfigError("schema registry", faults)

    @classmethod
    def from_environment(cls, urls: tuple[str, ...], folder: Path | None, environment: Mapping[str, str]) -> Self:
        """Read the variables PIPELINE_REGISTRY_*.

        Raises:
            ConfigError: with every fault; an unknown name is one.
        """
        given = {
            name.removeprefix(PREFIX).lower(): text
            for name, text in environment.items()
            if name.startswith(PREFIX) and name.removeprefix(PREFIX).lower() not in _OPTIONS
        }
        known = [each.name for each in fields(cls) if each.name not in {"urls", "folder"}]
        unknown = [f"{PREFIX}{name.upper()}: is unknown; known: {', '.join(known)}" for name in given.keys() - known]
        if unknown:
            raise ConfigError("schema registry", unknown)
        return cls(urls, folder, **{name: text for name, text in given.items() if text})

    def secret_password(self) -> str:
        """Return the password."""
        return self.password or _content(self.password_file)

    def secret_token(self) -> str:
        """Return the bearer token; empty: none."""
        return self.token or _content(self.token_file)

    def ssl_context(self) -> ssl.SSLContext:
        """Return what checks the registry's certificate and shows ours; ConfigError where a file can't be used."""
        try:
            context = ssl.create_default_context(cafile=self.ca_file or None)
            if self.certificate_file:
                context.load_cert_chain(self.certificate_file, self.key_file or None)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError("schema registry", [f"{PREFIX}CA_FILE, _CERTIFICATE_FILE, _KEY_FILE: {error}"]) from error
        return context


def _content(path: str) -> str:
    if not path:
        return ""
    try:
        return Path(path).read_text("utf-8").removesuffix("\n")
    except OSError as error:
        raise ConfigError("schema registry", [f"{path} can't be read: {error}"]) from error


def _url_faults(url: str) -> list[str]:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        return [f"--registry: {parts.scheme or url!r} is no http:// or https:// address, such as http://registry:8081"]
    if parts.username or parts.password:
        return [f"--registry: no credentials in an address; set {PREFIX}USERNAME and {PREFIX}PASSWORD_FILE"]
    return []
