from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import ConfigError
from pipeline.serve.claims import Claim, ClaimError, Claims, parse_secrets

OLD, NEW = b"0" * 16, b"1" * 16
CLAIM = Claim("homepage", {"click": 1.0, "like": 0.5})
UNTIL_MS = 1_700_000_000_000


def signed(secret: bytes = NEW) -> str:
    return Claims([secret]).sign("page", "a-1", CLAIM, UNTIL_MS)


def test_a_claim_says_what_was_signed_until_it_expires() -> None:
    assert Claims([NEW]).read("page", "a-1", signed(), UNTIL_MS) == CLAIM
    with pytest.raises(ClaimError, match="expired 7 s ago"):
        Claims([NEW]).read("page", "a-1", signed(), UNTIL_MS + 7_000)


@pytest.mark.parametrize("most", [1234567.0, 0.1 + 0.2, 1e300])
def test_a_claim_says_the_largest_value_to_the_bit(most: float) -> None:
    claims, claim = Claims([NEW]), Claim("homepage", {"sale": most})
    assert claims.read("page", "a-1", claims.sign("page", "a-1", claim, UNTIL_MS), UNTIL_MS) == claim


@pytest.mark.parametrize(("name", "action_id"), [("page", "a-2"), ("page2", "a-1"), ("pag", "ea-1")])
def test_it_holds_for_its_action_and_its_key_alone(name: str, action_id: str) -> None:
    with pytest.raises(ClaimError, match="not given out"):
        Claims([NEW]).read(name, action_id, signed(), 0)


def test_a_new_secret_is_put_in_front_and_the_old_one_taken_away_later() -> None:
    assert Claims([NEW, OLD]).read("page", "a-1", signed(OLD), 0) == CLAIM
    assert Claims([NEW, OLD]).sign("page", "a-1", CLAIM, UNTIL_MS) == signed(NEW)
    with pytest.raises(ClaimError, match="not given out"):
        Claims([NEW]).read("page", "a-1", signed(OLD), 0)


@given(place=st.integers(0, 200), other=st.sampled_from("ABCabc019-_"))
def test_no_character_of_it_can_be_another(place: int, other: str) -> None:
    claim = signed()
    place %= len(claim) - 1  # the last one has bits that stand for nothing
    changed = claim[:place] + other + claim[place + 1 :]
    if changed != claim:
        with pytest.raises(ClaimError):
            Claims([NEW]).read("page", "a-1", changed, 0)


@given(st.text(max_size=40))
def test_whatever_else_is_sent_is_no_claim(text: str) -> None:
    with pytest.raises(ClaimError):
        Claims([NEW]).read("page", "a-1", text, 0)


def test_a_file_of_secrets_is_read_with_every_fault() -> None:
    assert parse_secrets("1" * 16 + "\n\n" + "0" * 16 + "\n", "secrets") == (NEW, OLD)
    with pytest.raises(ConfigError, match="line 1: 5 bytes, expected 16 to 64 random ones") as caught:
        parse_secrets("short\n", "secrets")
    assert "short" not in str(caught.value)
    with pytest.raises(ConfigError, match="holds 0 secrets"):
        parse_secrets("\n", "secrets")
