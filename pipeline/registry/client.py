"""A registry with Confluent's API, asked for schemas by their ids."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import aiohttp
import orjson

from pipeline.codec.framed import AVRO, RefusedWriter, Writer, writer_of
from pipeline.errors import ConfigError, UnavailableError
from pipeline.registry.settings import RegistrySettings

ANSWER_WITHIN_S = 10.0
MAX_ANSWER_BYTES = 1 << 20
MAX_REFERENCES = 64
NOT_FOUND = (40401, 40402, 40403)
"""Confluent's codes for a subject, version or id that the registry has not; any other 404 is of no registry."""
UNAUTHORIZED = (401, 403)


class RegistryClient:
    """One registry, by one or several addresses."""

    def __init__(self, settings: RegistrySettings) -> None:
        self._settings = settings
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Disconnect."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def check(self) -> None:
        """Ask for something that every registry has.

        Raises:
            ConfigError: it refuses the credentials, or the address is no registry's. UnavailableError: no answer.
        """
        status, _ = await self._get("/schemas/types")
        if status in UNAUTHORIZED:
            raise ConfigError("schema registry", [f"{self._names} refuses the credentials (HTTP {status})"])
        if status != 200:
            raise ConfigError("schema registry", [f"{self._names} has no /schemas/types (HTTP {status}): is it one?"])

    async def schema(self, schema_id: int) -> Writer | None:
        """Return how an id's records are written; None: the registry has no such id.

        Raises:
            UnavailableError: no answer, or none that says anything of the id.
        """
        answer = await self._answer(f"/schemas/ids/{schema_id}")
        if answer is None:
            return None
        try:
            kind, text = str(answer.get("schemaType") or AVRO), str(answer["schema"])
            return writer_of(kind, text, await self._references(answer))
        except (KeyError, TypeError, ValueError, ConfigError) as error:
            return RefusedWriter("unsupported-schema", f"schema {schema_id} of the registry can't be used: {error!r}")

    async def _references(self, answer: dict[str, Any]) -> list[str]:
        """Return the texts of what a schema refers to, each behind what it refers to itself."""
        texts: list[str] = []
        seen: set[str] = set()

        async def gather(one: dict[str, Any]) -> None:
            for reference in one.get("references") or ():
                path = f"/subjects/{quote(reference['subject'], safe='')}/versions/{int(reference['version'])}"
                if path in seen:
                    continue
                seen.add(path)
                if len(seen) > MAX_REFERENCES:
                    raise ValueError(f"it refers to more than {MAX_REFERENCES} others")
                found = await self._answer(path)
                if found is None:
                    raise ValueError(f"{path}, which it refers to, is not there")
                await gather(found)
                texts.append(str(found["schema"]))

        await gather(answer)
        return texts

    async def _answer(self, path: str) -> dict[str, Any] | None:
        status, content = await self._get(path)
        try:
            answer = orjson.loads(content)
        except orjson.JSONDecodeError:
            answer = None
        if status == 404 and isinstance(answer, dict) and answer.get("error_code") in NOT_FOUND:
            return None
        if status != 200 or not isinstance(answer, dict):
            raise UnavailableError(f"{self._names} answers {path} with HTTP {status}: {content[:120]!r}")
        return answer

    async def _get(self, path: str) -> tuple[int, bytes]:
        """Ask one server after the other; the first that answers at all is believed."""
        session = self._session = self._session or self._connected()
        fault: Exception | None = None
        for url in self._settings.urls:
            try:
                # A redirect might lead credentials elsewhere.
                async with session.get(url.rstrip("/") + path, allow_redirects=False) as response:
                    content = b""
                    async for chunk in response.content.iter_chunked(1 << 16):
                        content += chunk
                        if len(content) > MAX_ANSWER_BYTES:
                            raise UnavailableError(f"{url}{path} is longer than {MAX_ANSWER_BYTES} bytes")
                    if response.status >= 500 or response.status == 429:
                        fault = UnavailableError(f"HTTP {response.status}")
                        continue
                    return response.status, content
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                fault = error
        raise UnavailableError(f"{self._names} does not answer: {fault!r}")

    def _connected(self) -> aiohttp.ClientSession:
        settings = self._settings
        headers = {"Accept": "application/vnd.schemaregistry.v1+json, application/json"}
        if token := settings.secret_token():
            headers["Authorization"] = f"Bearer {token}"
        auth = aiohttp.BasicAuth(settings.username, settings.secret_password()) if settings.username else None
        is_encrypted = any(url.startswith("https") for url in settings.urls)
        return aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=ANSWER_WITHIN_S),
            connector=aiohttp.TCPConnector(ssl=settings.ssl_context() if is_encrypted else True),
            headers=headers,
            auth=auth,
        )

    @property
    def _names(self) -> str:
        return ", ".join(self._settings.urls)
