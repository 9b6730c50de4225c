"""What the package uses of Faust and aiokafka that is not public, all of it: any release may change it.

Seen are names with one underscore that no module of the package makes: read or called on a foreign object or on `self`
or `super()` of a foreign base, or defined in a class to take a base's place.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.client import AIOKafkaClient
from aiokafka.producer.transaction_manager import TransactionManager
from faust.transport.drivers import aiokafka as driver
from mode import Worker

ROOT = Path(__file__).parents[3]
AT_MOST = 6
WHY = {
    # Where it is used: what for, that nothing public gives.
    ("pipeline/stream/log/claim.py", "_txn_manager"): "gives aiokafka's producer the producer id of a claim",
    ("pipeline/stream/log/claim.py", "_pid_and_epoch"): "the same; set_pid_and_epoch can be called only once",
    ("pipeline/stream/connections.py", "_md_synchronizer"): "the task that renews metadata is begun anew when it ends",
    ("pipeline/stream/log/group.py", "_new_consumer_thread"): "Faust starts our thread, which pauses what is assigned",
    ("pipeline/stream/log/group.py", "_ensure_consumer"): "aiokafka's consumer, to pause it before anything is awaited",
    ("pipeline/cli/worker.py", "_schedule_shutdown"): "stops in order at a signal that our own handler has taken",
}
FOREIGN = (driver.Consumer, driver.AIOKafkaConsumerThread, Worker, AIOKafkaProducer, AIOKafkaClient)
"""What the package makes subclasses of, or mends."""
USERS = ("faust", "mode", "aiokafka")


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def modules() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted((ROOT / "pipeline").rglob("*.py")):
        tree = ast.parse(path.read_text("utf-8"))
        named = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
        named += [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        if any(name.split(".")[0] in USERS for name in named):
            yield path.relative_to(ROOT).as_posix(), tree


def made_in(tree: ast.Module) -> set[str]:
    """Return the private names that a module makes for itself."""
    kept = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)]
    made = {node.attr for node in kept if isinstance(node.value, ast.Name) and node.value.id == "self"}
    defined = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    made |= {node.name for node in ast.walk(tree) if isinstance(node, defined)}
    return made | {"_replace", "_asdict", "_fields", "_exit"}  # public in all but name: of named tuples, and of `os`


def foreign(tree: ast.Module) -> set[str]:
    """Return the private names that it has of others."""
    used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and is_private(node.attr)}
    return (used - made_in(tree)) | taking_a_place(tree)


def taking_a_place(tree: ast.Module) -> set[str]:
    """Return the private methods and attributes of classes here that a foreign base has too."""
    inside = [
        node for each in ast.walk(tree) if isinstance(each, ast.ClassDef) and each.bases for node in ast.walk(each)
    ]
    names = {node.name for node in inside if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    names |= {node.attr for node in inside if isinstance(node, ast.Attribute)}
    return {name for name in names if is_private(name) and any(hasattr(base, name) for base in FOREIGN)}


def test_what_is_used_of_faust_and_aiokafka_without_a_promise_is_this_and_no_more():
    found = {(path, name) for path, tree in modules() for name in foreign(tree)}
    assert found == WHY.keys()
    assert len(found) <= AT_MOST


@pytest.mark.parametrize("name", sorted({name for _, name in WHY}))
def test_it_is_there_in_the_releases_that_are_pinned(name):
    assert any(name in Path(inspect.getfile(each)).read_text("utf-8") for each in (*FOREIGN, TransactionManager))
