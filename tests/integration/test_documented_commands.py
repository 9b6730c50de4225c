"""Every command that the pages tell people to type is typed, in the page's order, on a real Kafka with traffic.

README's quick start makes the deployment: its policy, topics, worker and node; the tutorial goes on from there, then
the table of what to run; the other pages find it running. What can't be typed here is named below, each with its
reason; a block that is neither typed nor named is red.
"""

from __future__ import annotations

import re
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self

import httpx
import orjson
import pytest
from confluent_kafka import Producer

from pipeline.brokers.local_kafka import LocalKafka
from pipeline.brokers.ports import free_ports
from pipeline.serve.subject import hash_subject
from tests.harness.certificates import issue
from tests.harness.client import partition_of
from tests.harness.node import Node
from tests.harness.pages import TOP, Told, check_options, check_target, name_of, pages, saved, typed
from tests.harness.shell import Shell, kind_of, until
from tests.open_bandit import uniform_rows, write_rows
from tests.samples import plain_decision, plain_outcome

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(900)]

DOCS = TOP / "docs"
IN_ORDER = [TOP / "README.md", DOCS / "tutorial.md", DOCS / "operate.md"]
"""What a reader goes through, in one shell."""
NEWCOMER = DOCS / "own-service.md"
OTHERS = [page for page in pages() if page not in [*IN_ORDER, NEWCOMER] and any(typed(page))]
WITHIN_S = 120.0
VISITS_EVERY_S = 0.1
SALT = "only-of-this-test"
VISITORS = 300
"""Of docs/own-service.md."""
VERSIONS = 12
"""docs/operate.md compares version 7 with 12."""

NAMED: Mapping[str, tuple[str, str]] = {
    # What a command begins with → how it is looked at all the same, and why it is not typed.
    "make ": ("target", "sets up an environment of its own, and runs for minutes to hours what other tests run"),
    "docker compose up": ("elsewhere", "no Docker here; tests/unit/test_compose.py reads what it would start"),
    "python -m benchmarks ": ("options", "for a quiet machine; test_benchmarks.py runs each suite with --smoke"),
    "pytest ": ("collect", "would be this suite in this suite"),
    "pipeline train ": ("options", "needs a policy with features and hundreds of decisions: test_train.py has them"),
    "pipeline replay": ("options", "alone, it stands for the line above it in its table"),
}
SHORTER: Mapping[str, str] = {
    # Minutes of a core as written. The last of two equal options holds.
    "pipeline simulate --set ": "--repetitions 2 --decisions 300",
    "pipeline simulate --environment ": "--repetitions 1 --decisions 300",
}
ANSWERS: Mapping[str, tuple[set[int], str]] = {
    # What else than 0 is a right answer here, and what it then says.
    "pipeline advise ": ({0, 1}, ""),  # 1: go on
    "pipeline policy promote ": ({1}, ""),  # nobody was shown it yet
    "pipeline analyze homepage": ({1}, "holds no settled decision"),  # as below; test_analyze.py has them settled
    "pipeline evaluate ": ({1}, "holds no settled decision"),  # the windows are of a day; test_evaluate.py settles
}


class Reader:
    """Types a page's commands, and does what a reader does between them: stand in a folder with the files that the
    page speaks of, put in names of one's own, copy a key that is shown once."""

    def __init__(self, folder: Path, broker: str, names: Mapping[str, str], environment: Mapping[str, str]) -> None:
        (self.port,) = free_ports(1)
        self.shell = Shell(folder, {"PIPELINE_PORT": str(self.port), "PIPELINE_CONSOLE_PORT": "0", **environment})
        self._names = {
            r"127\.0\.0\.1:9092": broker,
            r"\b8080\b": str(self.port),
            r"(?<![$\w])NODE(?=:)": "127.0.0.1",
            r"/etc/pipeline/": "",
            **names,
        }
        self.policies = ["homepage"]
        """What a node must know before it is asked."""
        self.said = ""
        """By the last command that came to its end."""
        self._action_id = ""
        settings = ["fail-with-body", "max-time = 30", f'resolve = "node.example:{self.port}:127.0.0.1"']
        (folder / ".curlrc").write_text("\n".join([*settings, f'cacert = "{folder}/authority.pem"\n']), "utf-8")
        (folder / ".venv").mkdir()
        (folder / ".venv" / "bin").symlink_to(Path(sys.executable).parent)

    def do(self, told: Told) -> str | None:
        """Type a command, or look at it as NAMED says; return what is wrong."""
        try:
            self._do(told)
        except Exception as error:  # noqa: BLE001  the others are looked at too
            return f"{told}\n    {error}"
        return None

    def _do(self, told: Told) -> None:
        text = self.with_names(told.text)
        for start, (how, _) in NAMED.items():
            if text.startswith(start) and (start.endswith(" ") or text == start):
                self._look(text, how)
                return
        for start, more in SHORTER.items():
            if text.startswith(start):
                text = f"{text} {more}"
        if kind := kind_of(text):
            self._start(kind, text)
            return
        ended = self.shell.type(text)
        codes, words = next((answer for start, answer in ANSWERS.items() if text.startswith(start)), ({0}, ""))
        assert ended.code in codes, f"ended with {ended.code}: {ended.said[-1_500:]}{ended.complained[-1_500:]}"
        assert words in ended.complained
        assert "Traceback" not in ended.complained
        self.said = ended.said
        self._remember(ended.said, ended.complained)

    def with_names(self, text: str) -> str:
        """Put in the names of this deployment."""
        for pattern, name in self._names.items():
            text = re.sub(pattern, name, text)
        return text.replace("0199…", self._action_id)

    def _look(self, text: str, how: str) -> None:
        if how == "target":
            check_target(text)
        elif how == "options":
            check_options(text)
        elif how == "collect":
            command = text.partition("#")[0]
            ended = self.shell.type(f"(cd {TOP} && {command} --collect-only -q)")
            assert ended.code == 0, ended.said[-1_500:] + ended.complained[-1_500:]

    def _start(self, kind: str, text: str) -> None:
        log = self.shell.start(text)
        if kind == "serve":
            url = f"{'https' if '--tls-key' in text else 'http'}://127.0.0.1:{self.port}/healthz"

            def answers() -> bool:
                assert self.shell.is_running(kind), log()[-3_000:]
                try:
                    httpx.get(url, verify=False)  # noqa: S501  who it is, curl asks
                except httpx.TransportError:
                    return False
                return all(f"snapshot-live policy={name} " in log() for name in self.policies)

            until(answers, "the node to answer from a snapshot", WITHIN_S, log)
        elif kind == "console":

            def listens() -> bool:
                assert self.shell.is_running(kind), log()[-3_000:]
                return re.search(r"console: https?://", log()) is not None

            until(listens, "the console to listen", WITHIN_S, log)
        elif kind == "policy":
            until(log, "the first look", WITHIN_S)
            assert self.shell.is_running(kind), log()

    def _remember(self, said: str, complained: str) -> None:
        if found := re.search(r'"action_id":\s*"([^"]+)"', said):
            self._action_id = found[1]
        if found := re.search(r"the key, [^:]*: (\S+)", complained):
            self.shell.type(f"KEY={found[1]}")


class Traffic:
    """Visitors of a node, of which some come back and some click."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._come, daemon=True)
        self.visits = 0

    def _come(self) -> None:
        with httpx.Client(base_url=self._node.url, timeout=10.0) as client:
            while not self._is_over.wait(VISITS_EVERY_S):
                self.visits += 1
                body = {"context": {"visits": self.visits % 4}, "subject": f"user-{self.visits % 50}"}
                answer: dict[str, Any] = client.post("/v1/policies/homepage/decide", json=body).json()
                if "action_id" in answer and self.visits % 3 == 0:
                    click = {"action_id": answer["action_id"], "kind": "click", "outcome_id": str(self.visits)}
                    client.post("/v1/outcomes", json=click)

    def begin(self) -> None:
        self._node.start()
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        if self._thread.ident is not None:
            self._thread.join(30.0)


class Deployment(NamedTuple):
    """What the commands of the pages in order have made, and what of them was broken."""

    broker: str
    names: Mapping[str, str]
    broken: list[str]


@pytest.fixture(scope="module")
def deployment(kafka_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    kafka = LocalKafka.start(kafka_cache, fresh=True)
    folder = tmp_path_factory.mktemp("readme")
    broker = kafka.bootstrap_servers
    names = {r"\bPOLICY\b": "homepage", r"\bSUBJECT_HASH\b": hash_subject("user-7", SALT)}
    reader = Reader(folder, broker, names, {})
    write_files(folder)
    broken: list[str] = []
    node = Node(broker, folder / "traffic", "--subject-salt", SALT)
    try:
        with reader.shell, Traffic(node) as traffic:
            for told in (told for page in IN_ORDER for told in typed(page)):
                if told.text.startswith("pipeline worker") and traffic.visits == 0:
                    send_bad_decision(broker, partitions=12)
                    traffic.begin()
                if told.text.startswith("pipeline policy ramp"):
                    assert reader.do(Told("", 0, f"pipeline policy apply {FOLLOWER}")) is None
                if told.text.startswith("pipeline snapshot list"):
                    until(lambda: last_version(reader.shell) > VERSIONS, "twelve versions", WITHIN_S)
                broken += [wrong] if (wrong := reader.do(told)) else []
            assert reader.shell.is_running("worker")
            yield Deployment(broker, names, broken)
    finally:
        node.kill()
        kafka.stop()


def write_files(folder: Path) -> None:
    """Put there what the pages speak of: the policy of the quick start, as it lies there, and others'."""
    (folder / "docs").mkdir()
    (folder / "docs" / "example").symlink_to(DOCS / "example")
    policy = (DOCS / "example" / "homepage.toml").read_text("utf-8")
    ago_ms = time.time_ns() // 1_000_000 - HISTORY_MS
    later = policy.replace('name = "homepage"', 'name = "homepage"\ngeneration = 2', 1)
    for name, text in (
        ("homepage.toml", policy),
        ("new.toml", later.replace('window = "30m"', 'window = "2h"')),
        ("bolder.toml", policy.replace("share = 0.01", "share = 0.1")),
        (FOLLOWER, policy.replace('name = "homepage"', 'name = "homepage-v2"', 1) + ROLLOUT),
        ("checkout.toml", policy.replace('name = "homepage"', 'name = "checkout"', 1)),
        ("shop.toml", SHOP),
        ("subject-salts", f"{SALT}\n"),
        ("decisions.jsonl", orjson.dumps(plain_decision("old-1", ago_ms, segment="new", arm="hybrid")).decode()),
        ("outcomes.jsonl", orjson.dumps(plain_outcome("old-1", ago_ms + 1_000)).decode()),
        ("history.csv", "arm,reward,propensity\n" + "collab_filter,0.2,0.5\nhybrid,0,0.5\n" * 40),
    ):
        (folder / name).write_text(text, "utf-8")
    issued = issue(folder, "node.example")
    assert issued.key.exists()
    write_rows(folder / "path/to/open-bandit/random/women", uniform_rows(300, [0.1, 0.3], seed=1))


def send_bad_decision(broker: str, partitions: int) -> None:
    """Make decisions/0/17 a decision of a policy that nobody knows: docs/operate.md shows how to look at it."""
    producer = Producer({"bootstrap.servers": broker})
    keys = (key for key in (f"action-{n}" for n in range(10_000)) if partition_of(key, partitions) == 0)
    now_ms = time.time_ns() // 1_000_000
    for number, key in zip(range(18), keys, strict=False):
        policy = "homepage" if number < 17 else "hompage"
        record = plain_decision(key, now_ms, policy=policy, segment="new", arm="hybrid")
        producer.produce("decisions", orjson.dumps(record), key.encode(), partition=0)
    assert producer.flush(WITHIN_S) == 0


def last_version(shell: Shell) -> int:
    listed = shell.type("pipeline snapshot show homepage --json")
    return 0 if listed.code else int(orjson.loads(listed.said)["version"])


HISTORY_MS = 9 * 86_400_000
"""How old what is loaded is."""
FOLLOWER = "homepage-v2.toml"
ROLLOUT = """
[rollout]
of = "homepage"
share = 0.0
"""
SHOP = """
name = "shop"
[[arms]]
name = "bestsellers"
features = { price = 0.1 }
[segments]
default = "all"
[[context]]
name = "visits"
kind = "numeric"
low = 0.0
high = 10.0
[algorithm]
name = "hybrid_thompson"
[candidates]
features = ["price"]
[reward]
low = 0.0
high = 1.0
[[reward.outcomes]]
kind = "click"
worth = 1.0
window = "30m"
[attribution]
settle = "optimistic"
grace = "1h"
"""


def test_each_command_of_the_readme_the_tutorial_and_the_table_does_what_it_says(deployment: Deployment) -> None:
    assert not deployment.broken, "\n".join(deployment.broken)


@pytest.mark.parametrize("page", OTHERS, ids=name_of)
def test_each_command_of_a_page_does_what_it_says(deployment: Deployment, page: Path, tmp_path: Path) -> None:
    reader = Reader(tmp_path / "page", deployment.broker, deployment.names, {"PIPELINE_BROKER": deployment.broker})
    write_files(reader.shell.folder)
    with reader.shell:
        if "curl" in page.read_text("utf-8"):
            # The page says how a node is asked, not how one is started.
            assert reader.do(Told("", 0, "pipeline policy apply shop.toml")) is None
            reader.policies.append("shop")
            assert reader.do(Told("", 0, "pipeline serve")) is None
        broken = [wrong for told in typed(page) if (wrong := reader.do(told))]
    assert not broken, "\n".join(broken)


def test_a_newcomer_comes_from_a_policy_and_a_service_of_their_own_to_a_lift_and_a_table_by_copying(
    deployment: Deployment, tmp_path: Path
) -> None:
    """Nothing is there but what the page has its reader make."""
    reader = Reader(tmp_path / "page", deployment.broker, deployment.names, {"PIPELINE_BROKER": deployment.broker})
    reader.policies = ["basket"]
    for name, text in saved(NEWCOMER):
        (reader.shell.folder / name).write_text(reader.with_names(text), "utf-8")
    said = {}
    with reader.shell:
        for told in typed(NEWCOMER):
            if told.text.startswith("pipeline report"):
                until(lambda: reported(reader.shell) == VISITORS, "all visitors to be joined", WITHIN_S)
            assert reader.do(told) is None
            said[told.text.partition(" basket")[0]] = reader.said
    assert re.search(r"lift: [+-]0\.\d+ a decision .*95 %", said["pipeline report"])
    (table,) = (text for start, text in said.items() if "import duckdb" in start)
    counts = re.findall(r"│ (plain|pictures) +│ (holdout|policy) +│ +(\d+) │", table)
    assert {(arm, reason) for arm, reason, _ in counts} == {
        ("plain", "holdout"),
        ("plain", "policy"),
        ("pictures", "policy"),
    }
    assert sum(int(count) for *_, count in counts) == VISITORS


def reported(shell: Shell) -> int:
    groups = orjson.loads(shell.type("pipeline report basket --include-open --json").said)["groups"]
    return sum(group["decisions"] for group in groups.values())
