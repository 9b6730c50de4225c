"""What the console shows in a real browser, on a real Kafka, while the demo plays, is what the command line says."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from confluent_kafka import Producer
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.browser.console.looking import (
    HOSTILE,
    POLICY,
    SHOTS,
    WITHIN_S,
    Played,
    cli,
    decide,
    faults_of,
    figure,
    look,
    shoot,
    text_of,
    until,
)

pytestmark = pytest.mark.kafka


def test_the_policies_page_and_a_policy_show_what_the_command_line_says(played: Played, browser: webdriver.Chrome):
    browser.get(played.console)
    row = f"//tr[th/a[text()='{POLICY}']]"
    until(lambda: "no holdout is declared" in browser.find_element(By.XPATH, row).text, "why there is no lift")
    assert "beta_thompson" in browser.find_element(By.XPATH, row).text
    browser.find_element(By.XPATH, f"{row}/th/a").click()
    arms = until(lambda: browser.find_element(By.ID, "arms"), "the arms")
    # One version of the table, whatever is published meanwhile.
    seen = browser.execute_script(
        """const arms = arguments[0]; return [arms.dataset.version, arms.dataset.segment, Object.fromEntries(
        [...arms.querySelectorAll("tr[data-arm]")].map((row) => [row.dataset.arm, Object.fromEntries(
        [...row.querySelectorAll("[data-figure]")].map((cell) => [cell.dataset.figure, cell.textContent]))]))]""",
        arms,
    )
    version, segment, shown = seen
    told = json.loads(cli(played, "snapshot", "show", POLICY, "--version", version, "--json"))
    expected = {row["arm"]: row for row in told["arms"] if row["segment"] == segment}
    assert {arm: (row["counted"], row["observed"]) for arm, row in shown.items()} == {
        arm: (f"{row['count']:,}", figure(row["mean"])) for arm, row in expected.items()
    }
    shares = [float(row["share"].strip("<> %")) for row in shown.values()]
    assert sum(shares) == pytest.approx(100.0, abs=0.3)  # three figures, each rounded to a tenth
    until(lambda: len(browser.find_elements(By.CSS_SELECTOR, "figure[data-drawn] canvas")) == 2, "two charts")
    report = json.loads(cli(played, "report", POLICY, "--json"))
    assert report["lift"] is None
    assert "declares no holdout" in until(lambda: text_of(browser, "#lift .why"), "why there is no lift")
    advice = until(lambda: browser.find_elements(By.CSS_SELECTOR, "[data-advice]"), "advice")
    told_segments = json.loads(cli(played, "advise", POLICY, "--json", codes=(0, 1)))["segments"]
    assert {each.get_attribute("data-advice") for each in advice} == {one["segment"] for one in told_segments}
    assert faults_of(browser) == []


def test_every_page_fits_a_narrow_screen_and_is_walked_by_keyboard_and_by_landmarks(
    played: Played, browser: webdriver.Chrome
):
    pages = {
        "policies": "/",
        "policy": f"/policies/{POLICY}",
        "snapshots": f"/policies/{POLICY}/snapshots",
        "definition": f"/policies/{POLICY}/definition",
        "pipeline": "/pipeline",
        "decision": "/decision?action_id=" + decide(played, context={"visits": 1})["action_id"],
        "dead-letters": "/dead-letters",
        "editor": "/editor?name=shop&first=red&second=blue&kind=click",
        "audit": "/audit",
        "act": f"/policies/{POLICY}/act/kill",
    }
    try:
        for name, path in pages.items():
            for width, is_dark in ((1280, False), (1280, True), (390, False)):
                look(browser, width, is_dark=is_dark)
                browser.get(played.console + path)
                assert browser.execute_script("return document.documentElement.scrollWidth") <= width, (name, width)
                if SHOTS:
                    shoot(browser, f"{name}-{'dark' if is_dark else 'narrow' if width < 500 else 'light'}")
            landmarks = browser.execute_script(
                "return ['header', 'nav', 'main', 'h1'].map((tag) => document.querySelectorAll(tag).length)"
            )
            assert landmarks[0] == 1
            assert landmarks[1] >= 1
            assert landmarks[2:] == [1, 1], name
            nameless = browser.execute_script(
                """return [...document.querySelectorAll("input:not([type=hidden]), select, textarea, button")]
                .filter((one) => !(one.getAttribute("aria-label") || one.labels?.length || one.textContent.trim()))
                .map((one) => one.outerHTML)"""
            )
            assert nameless == [], name
            assert browser.execute_script(
                "return [...document.querySelectorAll('thead th')].every((one) => one.scope === 'col')"
            ), name
            browser.find_element(By.TAG_NAME, "body").send_keys(Keys.TAB)
            assert browser.switch_to.active_element.text == "To the content", name
            assert faults_of(browser) == [], name
    finally:
        look(browser, 1280, is_dark=False)


def test_a_version_is_proven_and_compared_as_on_the_command_line(played: Played, browser: webdriver.Chrome):
    versions = [row["version"] for row in json.loads(cli(played, "snapshot", "list", "--policy", POLICY, "--json"))]
    before, after = versions[0], versions[-1]
    browser.get(f"{played.console}/policies/{POLICY}/snapshots")
    for name, value in (("before", before), ("after", after)):
        field = browser.find_element(By.NAME, name)
        field.clear()
        field.send_keys(str(value))
    browser.find_element(By.XPATH, "//button[text()='Compare']").click()
    words = until(lambda: text_of(browser, "#diff ul"), "the difference").splitlines()
    told = cli(played, "snapshot", "diff", POLICY, str(before), str(after)).splitlines()
    # The command line's first line names the two; a table of counts follows its words.
    assert [line.strip() for line in told[1 : 1 + len(words)]] == [line.strip() for line in words]
    button = browser.find_element(By.CSS_SELECTOR, "button[aria-label^='Verify version']")
    row = button.find_element(By.XPATH, "./ancestor::tr").get_attribute("data-version")
    button.click()
    until(lambda: browser.find_elements(By.CSS_SELECTOR, f"tr[data-version='{row}'] [data-proof='equal']"), "a proof")


def test_the_pipeline_page_and_dead_letters_say_which_producer_sends_what_is_bad_and_hide_whose_it_is(
    played: Played, browser: webdriver.Chrome
):
    producer = Producer({"bootstrap.servers": played.broker})
    email = "ada@example.org"
    bad = {"action_id": HOSTILE, "kind": HOSTILE, "email": email, "policy": "nothing"}
    producer.produce("outcomes", json.dumps(bad).encode(), key=b"a")
    assert producer.flush(WITHIN_S) == 0

    def letters() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(cli(played, "dead-letters", "list", "--json"))
        return found

    told = until(letters, "a dead letter")
    reason = told[0]["reason"]

    def counted() -> bool:
        browser.get(f"{played.console}/dead-letters")
        return text_of(browser, f"[data-count='{reason}']") == str(len(told))

    until(counted, f"{len(told)} letters of reason {reason}")
    browser.get(f"{played.console}/dead-letters/{told[0]['source']}")
    whole = until(lambda: text_of(browser, "pre"), "the letter")
    assert email not in browser.page_source
    assert "(hidden) text" in whole
    assert HOSTILE in whole  # as text
    browser.get(f"{played.console}/decision?action_id={quote(HOSTILE)}")
    until(lambda: "no decision of this id" in text_of(browser, "#found"), "there is none")
    assert "owned" not in browser.title
    browser.get(f"{played.console}/pipeline")
    until(lambda: text_of(browser, "[data-unaccounted='decisions']") == "0", "conservation")
    until(lambda: text_of(browser, "[data-lag='rewards']").isdigit(), "lag of LEARN")
    until(lambda: "All is as it must be" in text_of(browser, "#checks") or text_of(browser, "#checks tbody"), "doctor")
    assert faults_of(browser) == []


def test_a_decision_is_looked_up_and_derived_again(played: Played, browser: webdriver.Chrome):
    made = decide(played, context={"visits": 7, "premium": False})
    httpx.post(f"{played.nodes[0]}/v1/outcomes", json={"action_id": made["action_id"], "kind": "purchase"})

    def checked() -> dict[str, str] | None:
        browser.get(f"{played.console}/decision")
        browser.find_element(By.NAME, "action_id").send_keys(made["action_id"], Keys.ENTER)
        until(lambda: browser.find_elements(By.CSS_SELECTOR, "#found .told, #found [data-check]"), "an answer")
        found = browser.find_elements(By.CSS_SELECTOR, "[data-check]")
        answers = {str(one.get_attribute("data-check")): str(one.get_attribute("data-answer")) for one in found}
        credited = browser.find_elements(By.XPATH, "//td[contains(., 'purchase')]")
        return answers if credited else None

    answers = until(checked, "its purchase is credited")
    assert set(answers.values()) == {"equal"}, answers
    assert {"segment", "probabilities", "snapshot", "propensity of the arm"} <= answers.keys()
    assert text_of(browser, "[data-decided='arm']") == made["arm"]
    told = browser.find_element(By.CSS_SELECTOR, "[data-decided='propensity']").get_attribute("data-value")
    assert float(str(told)) == made["propensity"]
    # A purchase is worth 1, and the best of what came counts.
    rewards = browser.find_elements(By.CSS_SELECTOR, "[data-reward]")
    assert float(str(rewards[-1].get_attribute("data-reward"))) == 1.0
