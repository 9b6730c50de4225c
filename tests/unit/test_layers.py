"""The arrows between modules, read from their imports; a failure says which one broke."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# What pure code of each folder may import of this package, beside its own folder.
PURE = {
    "errors": (),
    "models": ("errors",),
    "policy": ("errors", "models"),
    "events": ("errors",),
    "reasons": (),
    "producers": ("errors", "events", "codec", "join", "policy"),
    "outcome_id": (),
    "codec": ("errors", "events"),
    "join": ("errors", "events", "outcome_id", "codec", "policy"),
    "learn": ("errors", "models", "codec"),
    "checkpoint": ("errors", "models", "codec", "learn.memory"),
    "publish": ("errors", "models", "policy", "codec", "learn.memory"),
    "client": ("errors", "serve"),
    "replay": ("errors", "events", "models", "policy", "codec", "join", "learn", "checkpoint", "publish"),
    "serve": (
        "errors",
        "models",
        "policy",
        "events",
        "outcome_id",
        "codec",
        "publish.snapshot",
        "publish.parts",
        "publish.signing",
    ),
    # What would be decided is asked of a node's own functions.
    "simulate": (
        "errors",
        "models",
        "policy",
        "learn.memory",
        "publish.merging",
        "publish.exposures",
        "serve.decision",
        "serve.following.snapshot",
        "serve.guardrails",
    ),
    "evaluate": (
        "errors",
        "models",
        "policy",
        "events",
        "codec",
        "learn.memory",
        "publish",
        "serve.decision",
        "serve.following.snapshot",
    ),
    "report": ("events", "models", "policy", "evaluate.ledger"),
    "audit": ("errors", "codec"),
    "export": ("errors", "events", "models", "policy", "codec", "evaluate.retelling"),
    "status": (),
    "monitor": ("policy", "models", "learn.memory", "report.sample_ratio"),
    "independent": ("errors",),
    "analyze": ("errors", "models", "policy", "evaluate", "report.interval"),
    "rollout": ("errors", "events", "models", "policy", "evaluate", "report"),
}
# What touches the world in those folders; everything else there is pure.
WORLDLY = {
    "join": ("agent",),
    "learn": ("agent", "owed"),
    "checkpoint": ("begin", "topic", "trust", "write"),
    "producers": ("tail",),
    "publish": ("agent", "partition", "sending", "versions"),
    "client": ("http",),
    "replay": (
        "dead_letters.resend",
        "erasure.forget",
        "erasure.late_erasures",
        "proof.history",
        "proof.parts",
        "proof.present",
        "proof.read",
        "proof.verify",
        "recounting.journal",
        "recounting.loaded",
        "backfill.run",
        "recounting.log",
        "recounting.rebuild",
        "recounting.recount_bases",
        "promote",
        "recounting.run",
    ),
    "serve": (
        "delivery.backlog",
        "delivery.batch_sender",
        "delivery.delivery",
        "delivery.disk",
        "delivery.journal",
        "delivery.spill",
        "delivery.spill_folder",
        "delivery.stuck",
        "following.follower",
        "held",
        "following.kept",
        "following.switches",
        "http.access",
        "http.batches",
        "http.edge",
        "http.handshakes",
        "http.limited_protocol",
        "batching",
        "deciding",
        "http.fast_path",
        "http.metrics",
        "http.protocol",
        "http.renewal",
        "http.tls",
        "http.routes",
        "http.server",
        "node",
        "settings",  # what a broker's address is: how it is spoken to is beside it
        "status",
    ),
    "evaluate": ("open_bandit", "picture", "read"),
    "report": ("picture",),
    "audit": ("read", "record"),
    "export": ("folder", "parquet", "run", "until"),
    "status": ("asking", "gather", "metrics_text"),  # two ask, the last reads by Prometheus's own client
    "independent": ("read",),
    "analyze": ("picture",),
    "simulate": ("environments", "named", "picture"),  # environments make their own chance, from a seed
}
# The rooms of the largest folders, upper ones first: a room uses itself and what stands behind it. Files that lie
# beside the rooms are named; "*" is all the others.
ROOMS = {
    "models": (
        ("__init__", "advice", "spread", "beliefs", "many_contexts"),
        ("algorithms",),
        ("regressions",),
        ("sums", "chances"),
        ("model",),
        ("grid",),
    ),
    "serve": (
        ("__init__",),
        ("http",),
        ("node", "status"),
        ("deciding",),
        ("delivery",),
        ("intake",),
        ("decision",),
        ("following",),
        ("settings",),
        (
            "guardrails",
            "messages",
            "addresses",
            "batching",
            "claims",
            "costs",
            "held",
            "keys",
            "limits",
            "pieces",
            "ids",
            "subject",
        ),
    ),
    "policy": (("parsing",), ("*",)),
    "replay": (("promote",), ("erasure",), ("proof",), ("backfill",), ("recounting",), ("dead_letters",)),
    "stream": (("app",), ("metrics", "health"), ("state",), ("policies",), ("log",), ("*",)),
}
LIBRARIES = {"cryptography", "numpy", "numba", "scipy", "orjson", "fastavro", "msgspec"}
# Of the standard library, what knows the time, the machine, chance or the log.
UNCLEAN = {
    "asyncio",
    "concurrent",
    "datetime",
    "logging",
    "multiprocessing",
    "os",
    "random",
    "secrets",
    "signal",
    "socket",
    "subprocess",
    "threading",
    "time",
    "uuid",
}
# Faust and RocksDB have one home; the command that starts a worker hands it to Faust's own runner.
FAUST = {"faust", "mode", "rocksdict"}
DATED = frozenset({"pipeline.serve.keys", "pipeline.policy.kinds.clock"})
"""Who reads and writes dates, of times that they are given: an expiry, and what a clock shows in a time zone."""
COMPILED = "pipeline.models.chances.normal_kernel"
FAUST_USERS = ("pipeline.stream", "pipeline.cli.worker")


def modules() -> dict[str, set[str]]:
    """Map each module of the package to what it imports, anywhere in it."""
    found = {}
    for path in (ROOT / "pipeline").rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = set(imports(ast.parse(path.read_text("utf-8"))))
    # `from pipeline.codec import avro` names a module, `from pipeline.events import Tick` does not.
    return {name: {owner(of, found) for of in used} for name, used in found.items()}


def imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def owner(name: str, known: dict[str, set[str]]) -> str:
    """Return the module that a name is imported from."""
    return name if name in known or not name.startswith("pipeline.") else name.rpartition(".")[0]


MODULES = modules()


def folder_of(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def part_of(module: str) -> str:
    """Return the file or room within the module's folder; the folder's own file is its `__init__`."""
    return ".".join(module.split(".")[2:3]) or "__init__"


def is_worldly(module: str) -> bool:
    folder = folder_of(module)
    return is_within(module, *(f"pipeline.{folder}.{name}" for name in WORLDLY.get(folder, ())))


def is_within(module: str, *folders: str) -> bool:
    return any(module == folder or module.startswith(f"{folder}.") for folder in folders)


def pure_modules() -> list[str]:
    return sorted(module for module in MODULES if folder_of(module) in PURE and not is_worldly(module))


def reached_from(module: str) -> dict[str, str]:
    """Return all modules of the package that importing `module` loads, each with one that asks for it."""
    reached, waiting = {}, [(module, "")]
    while waiting:
        name, asker = waiting.pop()
        if name in MODULES and name not in reached:
            reached[name] = asker
            waiting += [(used, name) for used in MODULES[name]]
            waiting.append((name.rpartition(".")[0], name))
    return reached


def test_the_walk_finds_the_modules_and_their_imports():
    assert {"pipeline.join.step", "pipeline.models", "pipeline.stream.app"} <= MODULES.keys()
    assert {"pipeline.join.admission", "pipeline.codec.wire"} <= MODULES["pipeline.join.take"]
    assert "pipeline.join.agent" not in pure_modules()
    assert all(f"pipeline.{folder}.{name}" in MODULES for folder, names in WORLDLY.items() for name in names)


@pytest.mark.parametrize("module", pure_modules())
def test_pure_code_imports_only_what_is_pure_and_below_it(module):
    folder = folder_of(module)
    below = tuple(f"pipeline.{name}" for name in (folder, *PURE[folder]))
    for used in MODULES[module]:
        top = used.split(".")[0]
        if top == "pipeline":
            assert is_within(used, *below), f"{module} → {used}: not below it"
            assert used in pure_modules(), f"{module} → {used}: not pure"
        else:
            assert top in LIBRARIES | sys.stdlib_module_names, f"{module} → {used}: a library for the world's edge"
            assert top not in UNCLEAN or (module in DATED and top == "datetime"), (
                f"{module} → {used}: pure code is given what it has to know"
            )
            assert not is_within(used, "numpy.random"), f"{module} → {used}: chance is an argument"


def layer_of(module: str) -> int:
    """Return how far down in its folder's rooms the module stands."""
    layers = ROOMS[folder_of(module)]
    named = [depth for depth, names in enumerate(layers) if part_of(module) in names]
    return named[0] if named else next(depth for depth, names in enumerate(layers) if "*" in names)


@pytest.mark.parametrize("module", sorted(name for name in MODULES if folder_of(name) in ROOMS))
def test_a_room_uses_itself_and_the_rooms_below_it(module):
    for used in MODULES[module]:
        if folder_of(used) == folder_of(module):
            assert layer_of(used) >= layer_of(module), f"{module} → {used}: an upper room"


def test_no_modules_import_each_other_in_a_circle():
    """A circle of files is one file in pieces. What an `__init__` names of its own package is no circle."""
    packages = {name.rpartition(".")[0] for name in MODULES}
    waiting = {name: {used for used in MODULES[name] if used in MODULES} - packages for name in MODULES}
    while free := [name for name, used in waiting.items() if not used & waiting.keys()]:
        for name in free:
            del waiting[name]
    assert not waiting


@pytest.mark.parametrize("module", sorted(MODULES))
def test_faust_and_rocksdb_are_used_in_their_home_only(module):
    used = {name for name in MODULES[module] if name.split(".")[0] in FAUST}
    assert not used or is_within(module, *FAUST_USERS), f"{module} → {used}: only pipeline/stream knows Faust"


@pytest.mark.parametrize("module", sorted(name for name in MODULES if is_within(name, "pipeline.serve")))
def test_a_serving_node_loads_neither_faust_nor_the_learning_stages(module):
    reached = reached_from(module)
    for name, asker in reached.items():
        faust = {used for used in MODULES[name] if used.split(".")[0] in FAUST}
        assert not faust, f"{module} … {asker} → {name} → {faust}"
        assert not is_within(name, "pipeline.join"), f"{module} … {asker} → {name}"
        # A row's key is part of what a posterior's hash covers.
        assert name in {"pipeline.learn", "pipeline.learn.memory"} or not is_within(name, "pipeline.learn"), (
            f"{module} … {asker} → {name}"
        )


@pytest.mark.parametrize("module", sorted(name for name in MODULES if is_within(name, "pipeline.independent")))
def test_a_proof_shares_nothing_with_what_it_proves(module):
    reached = reached_from(module)
    own = {name for name in reached if not is_within(name, "pipeline.independent")}
    assert own <= {"pipeline", "pipeline.errors"}
    assert not [used for name in reached for used in MODULES[name] if used.split(".")[0] == "numpy"]


def test_pure_code_calls_nothing_that_reads_prints_or_rolls_dice():
    for module in pure_modules():
        path = ROOT / Path(*module.split("."))
        path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            assert called not in {"open", "print", "input"}, f"{path}:{node.lineno}: {called}()"
            assert not called.startswith("np.random."), f"{path}:{node.lineno}: {called}(): chance is an argument"


HEAVY = ("numba", "scipy.optimize", "scipy.stats")
"""A compiler of 100 MiB, and half a second each: who needs one asks for it where it does."""


def test_what_is_heavy_is_loaded_by_nobody_who_only_imports():
    # What trains is imported where somebody trains, and brings scikit-learn, which brings scipy.stats.
    apart = (COMPILED, "pipeline.train.network", "pipeline.train.proposal")
    imported = [name for name in sorted(MODULES) if name not in apart and not name.endswith("__main__")]
    asked = (
        f"import sys, importlib; [importlib.import_module(name) for name in {imported}]; "
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", asked], cwd=ROOT, capture_output=True, text=True, check=True)
    assert answer.stdout.splitlines()[-1] == "[]"
    assert {name for name, used in MODULES.items() if COMPILED in used} == {"pipeline.models.chances.trapezoid"}
