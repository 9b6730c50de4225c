"""What a local Kafka is made of: a Java, the jars that Maven resolves once, and the files of `ops/kafka`."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from importlib import resources
from pathlib import Path

from pipeline.errors import ConfigError, UnavailableError

OLDEST_JAVA = 17  # Kafka 4 brokers need it
_MARKER = "resolved-pom.xml"
_RESOLVED_WITHIN_S = 900.0


def ops_file(name: str) -> str:
    """Read a file of `ops/kafka`, which a wheel carries inside this package."""
    packaged = resources.files("pipeline.brokers").joinpath("kafka", name)
    if packaged.is_file():
        return packaged.read_text("utf-8")
    return Path(__file__).parents[2].joinpath("ops", "kafka", name).read_text("utf-8")


def kafka_version() -> str:
    """Read the version of Kafka from the pom, its only home."""
    found = re.search(r"<kafka\.version>(.+?)</kafka\.version>", ops_file("pom.xml"))
    if found is None:
        raise ConfigError("ops/kafka/pom.xml", ["the property kafka.version is missing"])
    return found[1]


def find_java() -> str:
    """Find the `java` of JAVA_HOME or of the path, or raise ConfigError if there is none or it is too old."""
    home = os.environ.get("JAVA_HOME")
    java = shutil.which("java", path=str(Path(home, "bin")) if home else None)
    where = f"JAVA_HOME={home}" if home else "the path"
    wanted = f"install a JDK or JRE of version {OLDEST_JAVA} or newer"
    if java is None:
        raise ConfigError("broker 'kafka'", [f"no java in {where}: {wanted}"])
    # S603: the path is java's, the arguments are constants.
    answer = subprocess.run([java, "-version"], capture_output=True, text=True, check=False)  # noqa: S603
    version = java_version(answer.stderr)
    if version is None or version < OLDEST_JAVA:
        seen = "says no version" if version is None else f"is Java {version}"
        raise ConfigError("broker 'kafka'", [f"{java} {seen}: {wanted}"])
    return java


def java_version(text: str) -> int | None:
    """Read the major version out of what `java -version` says.

    >>> java_version('openjdk version "17.0.15" 2025-04-15'), java_version('java version "1.8.0_402"')
    (17, 8)
    """
    found = re.search(r'version "(?:1\.)?(\d+)', text)
    return int(found[1]) if found else None


def jars_folder(cache_dir: Path) -> Path:
    """Name the folder of this version's jars."""
    return cache_dir / "kafka" / f"jars-{kafka_version()}"


def has_jars(cache_dir: Path) -> bool:
    """Tell whether the jars are complete, so that `resolve_jars` needs neither Maven nor a network."""
    marker = jars_folder(cache_dir) / _MARKER
    return marker.is_file() and marker.read_text("utf-8") == ops_file("pom.xml")


def resolve_jars(cache_dir: Path) -> Path:
    """Return the folder of Kafka's jars, resolved with Maven if it is not there yet.

    A copy of the pom, made last, marks the folder as complete and as this pom's. Callers take turns:
    see `folder.taking_turns`.

    Raises ConfigError without Maven, UnavailableError if it can't resolve.
    """
    jars = jars_folder(cache_dir)
    if has_jars(cache_dir):
        return jars
    maven = shutil.which("mvn")
    if maven is None:
        raise ConfigError("broker 'kafka'", ["no mvn on the path: install Apache Maven (needed once)"])
    shutil.rmtree(jars, ignore_errors=True)
    jars.mkdir(parents=True)
    pom = jars / "pom.xml"
    pom.write_text(ops_file("pom.xml"), "utf-8")
    _run_maven(maven, pom, jars)
    pom.replace(jars / _MARKER)
    return jars


def _run_maven(maven: str, pom: Path, jars: Path) -> None:
    quiet = ["--batch-mode", "--no-transfer-progress", "--quiet", "-Dstyle.color=never"]
    goal = ["dependency:copy-dependencies", f"-DoutputDirectory={jars}"]
    what = f"the jars of Kafka {kafka_version()}"
    try:
        # S603: the path is Maven's, the arguments are ours.
        done = subprocess.run(  # noqa: S603
            [maven, *quiet, "--file", str(pom), *goal],
            capture_output=True,
            text=True,
            check=False,
            timeout=_RESOLVED_WITHIN_S,
        )
    except subprocess.TimeoutExpired as error:
        raise UnavailableError(f"Maven did not resolve {what} in {_RESOLVED_WITHIN_S:.0f} s") from error
    if done.returncode != 0:
        said = (done.stdout + done.stderr).strip().splitlines()[:3]
        raise UnavailableError(
            f"Maven could not resolve {what}: {' '.join(said)} (check the network, or Maven's settings.xml)",
        )
