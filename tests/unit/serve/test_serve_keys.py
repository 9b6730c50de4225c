from __future__ import annotations

import hashlib

import pytest
from click.testing import CliRunner

from pipeline.cli.api_key import api_key
from pipeline.errors import ConfigError
from pipeline.serve import keys as module
from pipeline.serve.keys import MAX_KEYS, ApiKey, find_key, hash_key, parse_keys

SHOP = ApiKey("shop", hashlib.sha256(b"pk_shop").hexdigest(), frozenset({"decide"}))
TILL = ApiKey("till", hashlib.sha256(b"pk_till").hexdigest(), frozenset({"outcomes"}))


def entry(**fields: str) -> str:
    written = {"name": '"shop"', "sha256": f'"{"a" * 64}"', "rights": '["decide"]'} | fields
    return "[[keys]]\n" + "".join(f"{name} = {value}\n" for name, value in written.items())


def test_a_key_is_found_by_its_hash_alone() -> None:
    assert find_key([SHOP, TILL], "pk_till") is TILL
    assert find_key([SHOP, TILL], "pk_tilt") is None
    assert find_key([SHOP, TILL], TILL.sha256) is None
    assert find_key([SHOP], "") is None


def test_every_key_is_compared_in_constant_time_whichever_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[str] = []

    def compare(known: str, seen: str) -> bool:
        compared.append(known)
        return known == seen

    monkeypatch.setattr(module, "compare_digest", compare)
    for presented in ("pk_shop", "pk_till", "nobody's"):
        find_key([SHOP, TILL], presented)
    assert compared == [SHOP.sha256, TILL.sha256] * 3


def test_what_the_command_prints_is_what_the_node_reads() -> None:
    made = CliRunner().invoke(api_key, ["--name", "shop", "--right", "decide", "--right", "outcomes"])
    key = made.stderr.split()[-1]
    (read,) = parse_keys(made.stdout, "keys.toml")
    assert (read.name, read.rights) == ("shop", {"decide", "outcomes"})
    assert key not in made.stdout
    assert read.sha256 == hash_key(key)
    again = CliRunner().invoke(api_key, ["--name", "shop", "--right", "decide"])
    assert again.stderr.split()[-1] != key


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[[keys", "is not TOML"),
        ("", f"holds no list of 1 to {MAX_KEYS}"),
        ("keys = 1", "holds no list"),
        ("keys = []", "holds no list"),
        ("keys = [1]", r"keys\[0\]: has the fields \[\]"),
        (entry(name='"Shop"'), r'keys\[0\]\.name: "Shop" does not match'),
        (entry(sha256='"pk_secret"'), r"keys\[0\]\.sha256: is not 64 hexadecimal digits"),
        (entry(rights="[]"), r"keys\[0\]\.rights: \[\] is no list of decide, outcomes, operate"),
        (entry(rights='["everything"]'), r"keys\[0\]\.rights"),
        (entry(right="1"), r"keys\[0\]: has the fields \['name', 'right', "),
        (entry() + entry(name='"till"'), "sha256 .* appears twice"),
        (entry() + entry(sha256=f'"{"b" * 64}"'), 'name "shop" appears twice'),
    ],
)
def test_a_faulty_file_of_keys_is_refused_with_its_fault(text: str, fault: str) -> None:
    with pytest.raises(ConfigError, match=fault):
        parse_keys(text, "keys.toml")


def test_a_key_written_where_its_hash_belongs_is_not_shown() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_keys(entry(sha256='"pk_secret"'), "keys.toml")
    assert "pk_secret" not in str(caught.value)
