"""Whether a schema registry, where there is one, can be reached and takes our credentials, and a folder can be read."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.doctor.checks import Finding
from pipeline.errors import ConfigError, UnavailableError
from pipeline.registry.client import RegistryClient
from pipeline.registry.files import read_folder
from pipeline.registry.settings import RegistrySettings

MEND = "PIPELINE_REGISTRY_USERNAME and _PASSWORD_FILE, or _TOKEN_FILE, and _CA_FILE"


async def registry_findings(settings: RegistrySettings) -> list[Finding]:
    """Ask the registry what every one has; read the folder."""
    found = list(_of_folder(settings))
    if settings.urls:
        client = RegistryClient(settings)
        what = f"registry {', '.join(settings.urls)}"
        try:
            await client.check()
        except ConfigError as error:
            found.append(
                Finding("fail", what, "; ".join(error.faults), "an answer to these credentials", f"set {MEND}")
            )
        except UnavailableError as error:
            needed = "an answer: records in its frame wait for it, and their partitions with them"
            found.append(
                Finding("fail", what, str(error), needed, f"start it, name another by --registry, or set {MEND}")
            )
        else:
            found.append(Finding("ok", what, "answers, and takes these credentials"))
        finally:
            await client.close()
    return found


def _of_folder(settings: RegistrySettings) -> Iterator[Finding]:
    if settings.folder is None:
        return
    what = f"schemas in {settings.folder}"
    try:
        yield Finding("ok", what, f"{len(read_folder(settings.folder))} can be read")
    except (ConfigError, OSError) as error:
        yield Finding("fail", what, str(error), "files such as 17.avsc or 17.json", "mend what it names")
