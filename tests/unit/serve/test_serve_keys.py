from __future__ import annotations

import hashlib

import pytest
from click.testing import CliRunner

from pipeline.cli.api_key import api_key
from pipeline.errors import ConfigError
from pipeline.serve.keys import MAX_KEYS, ApiKey, KeyRing, hash_key, parse_keys

SHOP = ApiKey("shop", hashlib.sha256(b"pk_shop").hexdigest(), frozenset({"decide"}))
TILL = ApiKey("till", hashlib.sha256(b"pk_till").hexdigest(), frozenset({"outcomes"}))


def entry(**fields: str) -> str:
    written = {"name": '"shop"', "sha256": f'"{"a" * 64}"', "rights": '["decide"]'} | fields
    return "[[keys]]\n" + "".join(f"{name} = {value}\n" for name, value in written.items())


def test_a_key_is_found_by_its_hash_alone() -> None:
    assert KeyRing([SHOP, TILL]).of_secret("pk_till") is TILL
    assert KeyRing([SHOP, TILL]).of_secret("pk_tilt") is None
    assert KeyRing([SHOP, TILL]).of_secret(TILL.sha256) is None
    assert KeyRing([SHOP]).of_secret("") is None


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
        (entry(rights="[]"), r"keys\[0\]\.rights: \[\] is no list of decide, outcomes, operate, read"),
        (entry(rights='["everything"]'), r"keys\[0\]\.rights"),
        (entry(right="1"), r"keys\[0\]: has the fields \['name', 'right', "),
        (entry() + entry(name='"till"'), "sha256 .* appears 2 times"),
        (
            "".join(entry(sha256=f'"{digit * 64}"') for digit in "abc"),
            'name "shop" appears 3 times',
        ),
        (entry(policies="[1]"), r"keys\[0\]\.policies: \[1\] is no list of policies' names"),
        (entry(expires='"soon"'), r'keys\[0\]\.expires: "soon" is no date'),
        (entry(claims="{ click = -1 }"), r"keys\[0\]\.claims\.click: -1 is no largest value"),
        (entry(claims='{ "a=b" = 1 }'), r"keys\[0\]\.claims\.a=b: 1 is no largest value"),
        (entry(claims="{ click = 1 }", rights='["operate"]'), "operate is not for a page"),
        (entry(claims="{ click = 1 }", rights='["read"]'), "read is not for a page"),
        (
            entry(certificate='"a"') + entry(name='"b"', sha256='""', certificate='"a"'),
            'certificate "a" appears',
        ),
    ],
)
def test_a_faulty_file_of_keys_is_refused_with_its_fault(text: str, fault: str) -> None:
    with pytest.raises(ConfigError, match=fault):
        parse_keys(text, "keys.toml")


def test_a_key_written_where_its_hash_belongs_is_not_shown() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_keys(entry(sha256='"pk_secret"'), "keys.toml")
    assert "pk_secret" not in str(caught.value)


def test_a_key_allows_its_rights_of_its_policies_until_it_expires() -> None:
    made = CliRunner().invoke(
        api_key,
        [
            *(
                "--name",
                "page",
                "--right",
                "decide",
                "--right",
                "outcomes",
                "--policy",
                "homepage",
                "--claim",
                "click=1",
            ),
            *("--expires", "2027-01-31", "--certificate", "shop.internal"),
        ],
    )
    (key,) = parse_keys(made.stdout, "keys.toml")
    assert key.may("decide", "homepage")
    assert not key.may("decide", "other")
    assert not key.may("operate", "homepage")
    # 2027-01-31 is 20,849 days after 1970-01-01: 57 years of 365 days, 14 leap days and 30 days.
    assert key.expires_at_ms == (57 * 365 + 14 + 30) * 86_400_000
    assert (key.claims, key.certificate) == ({"click": 1.0}, "shop.internal")
    assert KeyRing([key]).of_certificate(["x", "shop.internal"]) is key
    assert KeyRing([key]).of_certificate(["x"]) is None


def test_a_name_may_have_two_keys_so_that_callers_can_change_over() -> None:
    old, new = parse_keys(entry() + entry(sha256=f'"{hash_key("new")}"'), "keys.toml")
    assert old.name == new.name
    assert KeyRing([old, new]).of_secret("new") is new
