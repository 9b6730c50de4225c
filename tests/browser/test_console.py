"""The console in a real browser, on a real Kafka, while the demo plays: what it shows is what the command line says.

`pipeline demo --stay` brings all of it up, as a user would: broker's topics, worker, nodes, visitors, console and key.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from urllib.parse import quote

import httpx
import pytest
from confluent_kafka import Producer
from selenium import webdriver
from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from pipeline.brokers.local_kafka import LocalKafka
from pipeline.brokers.parent_watch import ParentWatch
from tests.browser.conftest import chromium_in

pytestmark = pytest.mark.kafka

WITHIN_S = 150.0
POLICY = "homepage"
HOSTILE = "<img src=x onerror=document.title='owned'>"
SHOTS = os.environ.get("CONSOLE_SCREENSHOTS")
"""A folder: pictures of the pages for docs/console are written there."""

T = TypeVar("T")


class Played(NamedTuple):
    """What the demo brought up."""

    broker: str
    console: str
    key: str
    nodes: list[str]


def until(look: Callable[[], T | None], what: str) -> T:
    """Wait for something that is neither None nor False."""
    deadline_s = time.monotonic() + WITHIN_S
    while True:
        try:
            if found := look():
                return found
        except (NoSuchElementException, StaleElementReferenceException, httpx.TransportError):
            pass
        assert time.monotonic() < deadline_s, what
        time.sleep(0.05)


@pytest.fixture(scope="module")
def played(kafka_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:
    folder = tmp_path_factory.mktemp("console")
    broker = LocalKafka.start(kafka_cache, fresh=True)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PIPELINE_")}
    options = ["--broker", broker.bootstrap_servers, "--visitors", "900", "--stay", "--picture", str(folder / "p.png")]
    said = folder / "said"
    with said.open("wb") as output:
        demo = subprocess.Popen(
            [sys.executable, "-m", "pipeline", "demo", *options],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    watch = ParentWatch(demo.pid)  # a demo that stays would stay when this process is killed

    def told(pattern: str) -> str | None:
        text = said.read_text("utf-8", "replace")
        assert demo.poll() is None, text[-3_000:]
        found = re.search(pattern, text)
        return found and found[1]

    try:
        console = until(lambda: told(r"console: (http://\S+)"), "the demo has not said its console's address")
        key = until(lambda: told(r"key: (pk_\S+)"), "the demo has not said its key")
        nodes = until(lambda: told(r"nodes: (.+)"), "the demo has not said its nodes").split()
        until(lambda: httpx.get(f"{console}/healthz").status_code == 200, "the console is not ready")
        # It examines what came of its visitors, and would not have others' bad records among theirs.
        until(lambda: told("(stays up until Ctrl-C)"), "the demo has not said what it came to")
        yield Played(broker.bootstrap_servers, console, key, nodes)
    finally:
        demo.send_signal(signal.SIGTERM)
        try:
            code = demo.wait(WITHIN_S)
        finally:
            demo.kill()
            watch.cut()
            broker.stop()
    # It was asked to stay until it is told to go: to be told is no fault.
    assert code == 0, said.read_text("utf-8", "replace")[-3_000:]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory, played: Played) -> Iterator[webdriver.Chrome]:
    with chromium_in(tmp_path_factory.mktemp("profile")) as started:
        started.get(f"{played.console}/policies/{POLICY}")
        # Nobody looks without a key; who comes in is led to what they wanted.
        assert started.find_element(By.TAG_NAME, "h1").text == "Come in"
        started.find_element(By.NAME, "key").send_keys("pk_guessed", Keys.ENTER)
        until(lambda: "no key of this console" in started.find_element(By.CSS_SELECTOR, ".told.bad").text, "refused")
        started.find_element(By.NAME, "key").send_keys(played.key, Keys.ENTER)
        until(lambda: started.find_element(By.TAG_NAME, "h1").text == POLICY, "the policy's page")
        yield started


def cli(played: Played, *arguments: str, codes: tuple[int, ...] = (0,)) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PIPELINE_")}
    done = subprocess.run(
        [sys.executable, "-m", "pipeline", *arguments],
        env={**environment, "PIPELINE_BROKER": played.broker},
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        check=False,
    )
    assert done.returncode in codes, done.stdout + done.stderr
    return done.stdout if done.returncode == 0 or done.stdout else done.stderr


def text_of(browser: webdriver.Chrome, selector: str) -> str:
    return str(browser.find_element(By.CSS_SELECTOR, selector).text)


def figure(value: float | None) -> str:
    """Write a number as the pages do: four digits, written here again."""
    return "–" if value is None else f"{value:.4g}"


def decide(played: Played, **body: Any) -> dict[str, Any]:
    answer: dict[str, Any] = httpx.post(f"{played.nodes[0]}/v1/policies/{POLICY}/decide", json=body).json()
    return answer


def faults_of(browser: webdriver.Chrome) -> list[str]:
    """Return what the browser itself complains of: a script that fails, something that the policy of contents holds."""
    told = [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    # A form that is refused is answered so, which the browser notes.
    return [entry["message"] for entry in told if "status of 4" not in entry["message"]]


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


def test_a_policy_is_written_checked_while_typing_and_applied(
    played: Played, browser: webdriver.Chrome, tmp_path: Path
):
    browser.get(f"{played.console}/editor?name=shop&first=red&second=blue&kind=click")
    until(lambda: browser.find_elements(By.CSS_SELECTOR, "[data-valid]"), "it is a policy")
    area = browser.find_element(By.NAME, "text")
    text = str(area.get_attribute("value"))
    broken = text.replace("worth = 1.0", "worth = 7.5").replace("beta_thompson", HOSTILE)
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
    assert cli(played, "policy", "show", "shop").startswith("shop generation 1, beta_thompson, 2 arms")
    # What differs from what is in force is told before it is applied.
    until(lambda: browser.get(f"{played.console}/policies/shop/definition") or "shop" in browser.title, "its text")
    present = str(until(lambda: browser.find_element(By.NAME, "text"), "the text").get_attribute("value"))
    put(browser, present.replace("floor = 0.01", "floor = 0.02"))
    changes = until(lambda: browser.find_elements(By.CSS_SELECTOR, "[data-change]"), "what it changes")
    assert [one.text for one in changes] == ["exploration.floor: 0.01 → 0.02"]
    assert faults_of(browser) == []


def put(browser: webdriver.Chrome, text: str) -> None:
    """Type a text in place of another, at once."""
    script = """const [text] = arguments, area = document.querySelector("textarea");
    document.querySelector("#faults").replaceChildren(); area.value = text;
    area.dispatchEvent(new InputEvent("input", {bubbles: true}));"""
    browser.execute_script(script, text)


def look(browser: webdriver.Chrome, width: int, *, is_dark: bool) -> None:
    """Have a screen of a width, and a scheme of colours."""
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False},
    )
    scheme = {"name": "prefers-color-scheme", "value": "dark" if is_dark else "light"}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})


def shoot(browser: webdriver.Chrome, name: str) -> None:
    """Write a picture of the whole page, once its parts have come."""
    import base64  # noqa: PLC0415  for pictures alone

    time.sleep(3.0)
    size = browser.execute_script("return [innerWidth, document.documentElement.scrollHeight]")
    clip = {"x": 0, "y": 0, "width": size[0], "height": min(size[1], 1_300), "scale": 1}
    shot = browser.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip})
    Path(str(SHOTS), f"{name}.png").write_bytes(base64.b64decode(shot["data"]))
