from __future__ import annotations

import re
import time
from dataclasses import replace

import pytest

from pipeline.audit.entry import Change, asked
from pipeline.console.acts import ACTS, Act, Shown
from pipeline.console.app import HEADERS
from pipeline.console.pages.pipeline import redacted
from pipeline.monitor.monitors import MONITORS
from pipeline.policy.directive import PIN, UNPIN, Action, Directive
from pipeline.replay.dead_letters.letters import DeadLetter, Source
from pipeline.serve.keys import ApiKey, hash_key
from pipeline.status.facts import FigureFacts, MonitorFacts, WorkerFacts
from tests.samples import define, linear_policy, plain_policy
from tests.unit.console.conftest import HOME, Console

ARMS = 1_000
POLICIES = 200


def named(name: str, **others: object) -> dict[str, object]:
    return plain_policy(**others) | {"name": name}  # type: ignore[arg-type]


def rows(text: str) -> list[str]:
    return re.findall(r'<th scope="row">', text)


async def test_200_policies_are_paged_and_found_by_a_part_of_their_name(console: Console):
    for number in range(POLICIES):
        console.tell(define(named(f"policy-{number:03}")))
    first = await console.page("/")
    assert len(rows(first)) == 50
    assert "1 to 50 of 200" in first
    assert "151 to 200 of 200" in await console.page("/?page=9")
    found = await console.page("/?q=Y-17")
    assert len(rows(found)) == 10  # policy-170 to policy-179
    assert "policy-179" in found


async def test_1000_arms_are_paged_and_what_would_take_too_long_is_withheld_with_its_reason(console: Console):
    console.tell(define(named("shop", arms=[{"name": f"arm-{number:04}"} for number in range(ARMS)])))
    page = await console.page("/policies/shop?segment=new")
    assert len(re.findall(r"data-arm=", page)) == 50
    assert "1 to 50 of 1,000" in page
    assert "it takes too long for a page among more than 300 arms" in page
    assert len(re.findall(r"data-arm=", await console.page("/policies/shop?segment=new&q=arm-099"))) == 10


async def test_what_context_decides_is_withheld_with_its_reason(console: Console):
    console.tell(define(linear_policy()))
    page = await console.page("/policies/homepage")
    assert "linear_thompson learns from context" in page
    drawn = (await console.web.get("/policies/homepage/timeline.json?segment=new")).json()
    assert "learns from context" in drawn["reason"]


async def test_shares_over_time_are_of_every_version_at_hand(console: Console):
    console.tell(define(plain_policy()), versions=3)
    drawn = (await console.web.get("/policies/homepage/timeline.json?segment=new")).json()
    assert drawn["versions"] == [1, 2, 3]
    # Nothing was learned: two arms are shown alike, and are the best alike.
    assert drawn["share"] == [[0.5] * 3] * 2
    assert drawn["best"] == [[pytest.approx(0.5)] * 3] * 2


async def test_what_holds_of_a_policy_is_said(console: Console):
    definition = define(plain_policy())
    console.tell(definition)
    assert "live" in await console.page("/")
    console.desk.followed.book.put_directive(Directive("homepage", 1, PIN, 1))
    killed = replace(definition, switches=replace(definition.switches, is_killed=True))
    console.desk.followed.book.put(killed)
    page = await console.page("/")
    assert "held at 1" in page
    assert "killed" in page


async def test_outcomes_that_stop_are_said_of_their_policy_alone(console: Console):
    for name in ("homepage", "shop"):
        console.tell(define(named(name)))
    alarm = WorkerFacts("w", alarms={"homepage": "stopped"}, waiting=["homepage"])
    console.desk.nodes.workers = {"w": alarm, "v": WorkerFacts("v")}
    assert (await console.page("/")).count(">outcomes have stopped<") == 1
    assert "publishing waits until they are as they were" in await console.page("/policies/homepage")
    assert "outcomes have" not in await console.page("/policies/shop")
    console.desk.nodes.workers["w"] = replace(alarm, waiting=())
    assert "learning and publishing go on" in await console.page("/policies/homepage")


async def test_why_snapshots_wait_is_said_on_the_policy_s_page_with_the_way_to_let_them_go(console: Console):
    console.tell(define(plain_policy(monitors={"label_rate": {"hold": True}})))
    console.desk.nodes.workers = {
        "w": WorkerFacts("w", alarms={"homepage": "stopped"}, waiting=["homepage"], label_rates={"homepage": 0.04})
    }
    page = await console.page("/policies/homepage")
    assert 'href="/policies/homepage/act/release"' in page
    assert "outcomes have stopped; publishing waits" in page
    assert "came of expected 0.04" in page
    console.desk.nodes.workers = {"w": WorkerFacts("w")}
    assert "act/release" not in await console.page("/policies/homepage")


async def test_every_monitor_has_a_row_and_a_reason_where_it_says_nothing(console: Console):
    console.tell(define(plain_policy()))
    page = await console.page("/policies/homepage")
    assert page.count("data-monitor=") == 1 + len(MONITORS)
    assert page.count("--worker-metrics URL") == 1 + len(MONITORS)
    told = {
        "features": MonitorFacts(is_red=True, figures=[FigureFacts("stability_index", "device", 0.4567)]),
        "draws": MonitorFacts(withheld="unsampled"),
    }
    console.desk.nodes.workers = {"w": WorkerFacts("w", monitors={"homepage": told})}
    page = await console.page("/policies/homepage")
    assert "stability index of device 0.4567" in page
    assert "no decisions are sampled: [monitors] sample = 0.05" in page
    # What is red comes first, behind the one that may hold publishing, and is said in the list of policies.
    assert re.findall('data-monitor="(\\w+)" data-state="(\\w+)"', page)[1] == ("features", "bad")
    assert ">red: features<" in await console.page("/")


@pytest.mark.parametrize(("action", "is_stale"), [(None, True), (UNPIN, True), (PIN, False)])
async def test_an_old_snapshot_is_stale_but_where_one_is_held(console: Console, action: Action | None, is_stale: bool):
    console.tell(define(plain_policy()))
    console.desk.followed._snapshots._published_at_ms["homepage"] = 0
    if action is not None:
        console.desk.followed.book.put_directive(Directive("homepage", 1, action, 1))
    assert (">stale<" in await console.page("/")) == is_stale
    act = "unpin" if action == PIN else "pin"
    assert f"/policies/homepage/act/{act}" in await console.page("/policies/homepage/snapshots")


async def test_how_many_letters_wait_is_said_by_reason_and_topic(console: Console):
    def letter(topic: str, offset: int) -> DeadLetter:
        return DeadLetter(Source(topic, 0, offset), "not-decodable", "", 0, None, b"{}", 0, 0)

    async def work(_: object) -> list[DeadLetter]:
        return []

    job = console.desk.jobs.ask("letters", work, fresh_s=0.0)
    job.result, job.ended_at_s = (
        [letter("decisions", 1), letter("outcomes", 1), letter("outcomes", 2)],
        time.monotonic(),
    )
    page = await console.page("/dead-letters")
    rows_of = re.findall(
        r"<td>(\w+)</td><td class=\"n\" data-count=\"not-decodable\">(\d)</td><td class=\"n\">(\d)<", page
    )
    assert set(rows_of) == {("decisions", "1", "1"), ("outcomes", "2", "2")}


async def test_whatever_others_wrote_is_shown_as_text(console: Console):
    hostile = "<script>alert(1)</script>"
    console.tell(define(plain_policy()))
    console.desk.followed._audits.append(asked(Change(hostile, "homepage", hostile, hostile), "1", 0, hostile, hostile))
    console.desk.followed.away["audit"] = hostile
    for path in ("/", "/audit", f"/?q={hostile}", f"/policies/homepage?q={hostile}", f"/editor?name={hostile}"):
        text = await console.page(path)
        assert hostile not in text, path
        assert "&lt;script&gt;" in text, path
    answer = await console.web.get(f"/policies/{hostile}")
    assert (answer.status_code, hostile in answer.text) == (404, False)


@pytest.mark.parametrize("path", ["/", "/policies/homepage", "/nothing", "/assets/console.js", "/assets/../app.py"])
async def test_every_answer_lets_a_browser_load_nothing_from_elsewhere(console: Console, path: str):
    console.tell(define(plain_policy()))
    answer = await console.web.get(path)
    assert {name: answer.headers[name] for name in HEADERS} == HEADERS
    assert "unsafe" not in answer.headers["content-security-policy"]


async def test_a_page_under_another_name_is_refused(console: Console):
    answer = await console.web.get("/", headers={"host": "stranger.example"})
    assert answer.status_code == 403
    assert "no name of this console" in answer.text


async def test_a_policy_that_is_not_applied_is_said_to_be_none(console: Console):
    console.tell(define(plain_policy()))
    answer = await console.web.get("/policies/hompage")
    assert answer.status_code == 404
    assert "known: homepage" in answer.text


@pytest.fixture
def operated(monkeypatch: pytest.MonkeyPatch) -> tuple[Console, list[str]]:
    """A console with one act, which says that it was done; no broker is asked."""
    done: list[str] = []

    async def look(*_: object) -> Shown:
        return Shown("would do it", (), is_possible=True, typed="homepage", seal=f"seal {len(done)}")

    async def do(_: object, policy: str, __: object, by: object) -> str:
        done.append(f"{policy} {getattr(by, 'name', '')}")
        return "done"

    monkeypatch.setitem(ACTS, "kill", Act("Switch off", "policy kill", look, do))  # type: ignore[arg-type]
    keys = (
        ApiKey("ada", hash_key("pk_ada"), frozenset({"read", "operate"})),
        ApiKey("eve", hash_key("pk_eve"), frozenset({"read"})),
    )
    made = Console(keys=keys)
    made.tell(define(plain_policy()))
    return made, done


async def come_in(console: Console, name: str) -> None:
    answer = await console.web.post("/come-in", data={"key": f"pk_{name}"}, headers={"origin": HOME})
    assert answer.status_code == 303
    cookie = answer.headers["set-cookie"]
    assert {"HttpOnly", "SameSite=strict", "Path=/"} <= {part.strip() for part in cookie.split(";")}
    assert f"pk_{name}" not in cookie


def form(page: str, **changed: str) -> dict[str, str]:
    fields = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', page))
    return {**fields, "typed": "homepage"} | changed


ACT = "/policies/homepage/act/kill"


async def test_an_act_is_done_by_whoever_may_once_it_is_shown_and_typed(operated: tuple[Console, list[str]]):
    console, done = operated
    assert (await console.web.get(ACT)).headers["location"] == f"/come-in?to={ACT}"
    await come_in(console, "ada")
    page = await console.page(ACT)
    answer = await console.web.post(ACT, data=form(page), headers={"origin": HOME})
    assert (answer.status_code, done) == (200, ["homepage key ada at the console"])
    # The same form again: what was shown is no more what would be done.
    again = await console.web.post(ACT, data=form(page), headers={"origin": HOME})
    assert (again.status_code, len(done)) == (409, 1)


@pytest.mark.parametrize(
    ("who", "changed", "headers", "status"),
    [
        ("ada", {"typed": "homepag"}, {}, 409),
        ("ada", {"seal": "seal 1"}, {}, 409),
        ("ada", {"token": "guessed"}, {}, 403),
        ("ada", {}, {"origin": "http://stranger.example"}, 403),
        ("ada", {}, {"host": "stranger.example"}, 403),
        ("ada", {}, {"content-type": "text/plain"}, 415),
        ("eve", {"token": "", "seal": "seal 0", "step": "do"}, {}, 403),
    ],
)
async def test_nothing_else_does_it(
    operated: tuple[Console, list[str]], who: str, changed: dict[str, str], headers: dict[str, str], status: int
):
    console, done = operated
    await come_in(console, who)
    fields = form(await console.page(ACT), **changed)
    answer = await console.web.post(ACT, data=fields, headers={"origin": HOME, **headers})
    assert (answer.status_code, done) == (status, [])


async def test_a_form_that_is_too_long_is_refused_before_it_is_held(operated: tuple[Console, list[str]]):
    console, _ = operated
    await come_in(console, "ada")
    answer = await console.web.post("/editor/check", data={"text": "x" * (1 << 21)}, headers={"origin": HOME})
    assert answer.status_code == 413


def test_of_a_refused_record_only_what_is_of_no_person_is_shown():
    record = {"action_id": "a", "context": {"email": "ada@example.org", "kind": "click"}, "subject": "ada", "kind": "b"}
    shown = redacted(record)
    assert shown["action_id"] == "a"
    assert shown["kind"] == "b"
    assert "ada" not in str(shown)
    assert redacted(["ada"]) == "(hidden) list"
