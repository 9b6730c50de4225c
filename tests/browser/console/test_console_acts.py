"""What is done from the console is what the command line would do, and is shown, typed and recorded."""

from __future__ import annotations

import json
import re
from pathlib import Path

import httpx
import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.browser.console.looking import (
    HOSTILE,
    POLICY,
    Played,
    cli,
    faults_of,
    put,
    text_of,
    until,
)
from tests.harness.pages import TOP

pytestmark = pytest.mark.kafka


def test_a_rollback_is_shown_first_then_typed_then_followed_by_every_node_and_recorded(
    played: Played, browser: webdriver.Chrome
):
    versions = json.loads(cli(played, "snapshot", "list", "--policy", POLICY, "--json"))
    target = versions[0]["version"]
    address = f"{played.console}/policies/{POLICY}/act/rollback?to={target}"
    browser.get(address)
    shown = text_of(browser, "[data-dry-run='true']")
    assert shown == cli(played, "snapshot", "rollback", POLICY, "--to", str(target), "--dry-run").splitlines()[0]
    browser.find_element(By.NAME, "typed").send_keys("home", Keys.ENTER)
    until(lambda: "was not typed" in text_of(browser, ".told.bad"), "a word that was not typed")
    assert "held" not in cli(played, "policy", "show", POLICY)
    browser.find_element(By.NAME, "typed").send_keys(POLICY, Keys.ENTER)
    done = until(lambda: text_of(browser, "[data-done]"), "what was done")
    version = int(re.search(r"version (\d+) is the content of version", done)[1])  # type: ignore[index]

    def live() -> list[int]:
        answers = [httpx.get(f"{node}/healthz").json() for node in played.nodes]
        return [answer["snapshots"][POLICY]["version"] for answer in answers]

    until(lambda: set(live()) == {version}, f"nodes decide by {version}")
    browser.get(f"{played.console}/policies/{POLICY}")
    assert until(lambda: text_of(browser, "h1 + .state.note"), "its state") == f"rolled back to {target}"
    until(
        lambda: (
            (
                {one.get_attribute("data-version") for one in browser.find_elements(By.CSS_SELECTOR, "[data-node]")}
                == {str(version)}
            )
            or browser.refresh()
        ),
        "the page says which version nodes have",
    )
    told = json.loads(cli(played, "audit", "list", "--policy", POLICY, "--last", "1", "--json"))[0]
    assert (told["command"], told["state"]) == ("snapshot rollback", "done")
    assert told["actor"] == "key demo at the console"
    browser.get(f"{played.console}/audit")
    assert "snapshot rollback" in until(lambda: text_of(browser, "tbody tr"), "the record of it")
    browser.get(f"{played.console}/policies/{POLICY}/act/unpin")
    browser.find_element(By.NAME, "typed").send_keys(POLICY, Keys.ENTER)
    until(lambda: "nothing is held any more" in text_of(browser, "[data-done]"), "it goes on")


def test_a_stale_form_does_nothing(played: Played, browser: webdriver.Chrome):
    """What was shown is sealed: where something else was done meanwhile, the form shows the new and does nothing."""
    browser.get(f"{played.console}/policies/{POLICY}/act/kill?arm=hybrid")
    cli(played, "policy", "kill", POLICY, "--arm", "collab_filter")
    browser.find_element(By.NAME, "typed").send_keys(POLICY, Keys.ENTER)
    until(lambda: "no longer what was shown" in text_of(browser, ".told.bad"), "it is shown again")
    assert cli(played, "policy", "show", POLICY).strip().endswith("killed arms: collab_filter")
    cli(played, "policy", "revive", POLICY)


def test_a_policy_is_written_checked_while_typing_and_applied(
    played: Played, browser: webdriver.Chrome, tmp_path: Path
):
    browser.get(f"{played.console}/editor?name=shop&first=red&second=blue&kind=click")
    until(lambda: browser.find_elements(By.CSS_SELECTOR, "[data-valid]"), "it is a policy")
    area = browser.find_element(By.NAME, "text")
    text = str(area.get_attribute("value"))
    broken = text.replace("worth = 1.0", "worth = 7.5").replace('"auto"', f'"{HOSTILE}"')
    put(browser, broken)
    found = until(lambda: browser.find_elements(By.CSS_SELECTOR, "[data-fault]"), "faults")
    shown = [one.text for one in found]
    file = tmp_path / "shop.toml"
    file.write_text(broken, "utf-8")
    told = cli(played, "policy", "validate", str(file), codes=(1,))
    assert shown == [line.removeprefix("  - ") for line in told.splitlines() if line.startswith("  - ")]
    assert "owned" not in browser.title
    put(browser, text)
    until(lambda: browser.find_elements(By.CSS_SELECTOR, "[data-valid]"), "it is a policy again")
    browser.find_element(By.XPATH, "//button[starts-with(., 'Show what')]").click()
    until(lambda: text_of(browser, "[data-dry-run='true']").startswith("would apply a new policy"), "what it would do")
    browser.find_element(By.NAME, "typed").send_keys("shop", Keys.ENTER)
    until(lambda: text_of(browser, "[data-done]").startswith("applied: shop"), "it is applied")
    assert cli(played, "policy", "show", "shop").startswith("shop generation 1, auto_rates (an upper bound")
    # What differs from what is in force is told before it is applied.
    until(lambda: browser.get(f"{played.console}/policies/shop/definition") or "shop" in browser.title, "its text")
    present = str(until(lambda: browser.find_element(By.NAME, "text"), "the text").get_attribute("value"))
    put(browser, present.replace("share = 0.01", "share = 0.02"))
    changes = until(lambda: browser.find_elements(By.CSS_SELECTOR, "[data-change]"), "what it changes")
    assert [one.text for one in changes] == ["exploration.share: 0.01 → 0.02"]
    assert faults_of(browser) == []


def test_the_share_that_a_policy_decides_for_is_changed_from_its_page(
    played: Played, browser: webdriver.Chrome, tmp_path: Path
):
    file = tmp_path / "bolder.toml"
    text = (
        (TOP / "ops" / "policies" / "homepage.toml").read_text("utf-8").replace('name = "homepage"', 'name = "bolder"')
    )
    file.write_text(f'{text}\n[rollout]\nof = "{POLICY}"\nshare = 0.0\n', "utf-8")
    cli(played, "policy", "apply", str(file))

    def asked() -> bool:
        browser.get(f"{played.console}/policies/bolder/snapshots")
        share = browser.find_element(By.NAME, "share")
        share.clear()
        share.send_keys("25", Keys.ENTER)
        return True

    until(asked, "its page is there, and has a form for its share")
    shown = until(lambda: text_of(browser, "[data-dry-run='true']"), "what would be done")
    assert shown == f"would be: bolder decides for 25 % of the subjects of {POLICY}, mode serve"
    browser.find_element(By.NAME, "typed").send_keys("bolder", Keys.ENTER)
    assert until(lambda: text_of(browser, "[data-done]"), "it is done") == shown.removeprefix("would be: ")
    assert json.loads(cli(played, "policy", "show", "bolder", "--json"))[0]["rollout"]["share"] == 0.25
    told = json.loads(cli(played, "audit", "list", "--policy", "bolder", "--last", "1", "--json"))[0]
    assert (told["command"], told["state"]) == ("policy rollout", "done")


def test_a_policy_that_waits_for_its_outcomes_is_released_from_its_page(
    played: Played, browser: webdriver.Chrome, tmp_path: Path
):
    text = (TOP / "ops/policies/homepage.toml").read_text("utf-8").replace('name = "homepage"', 'name = "waiting"', 1)
    file = tmp_path / "waiting.toml"
    file.write_text(text + "\n[monitors]\nlabel_rate = { hold = true }\n", "utf-8")
    cli(played, "policy", "apply", str(file))
    address = f"{played.console}/policies/waiting/act/release"
    until(lambda: browser.get(address) or browser.find_elements(By.NAME, "typed"), "what would be done")
    assert "label_rate hold = false" in text_of(browser, "[data-dry-run='true']")
    browser.find_element(By.NAME, "typed").send_keys("waiting", Keys.ENTER)
    until(lambda: "is published again" in text_of(browser, "[data-done]"), "it is released")
    told = json.loads(cli(played, "audit", "list", "--policy", "waiting", "--last", "1", "--json"))[0]
    assert (told["command"], told["state"]) == ("policy apply", "done")
    browser.get(address)
    assert "hold is false" in until(lambda: text_of(browser, "main"), "there is nothing more to release")
