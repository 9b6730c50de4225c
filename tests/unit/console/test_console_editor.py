from __future__ import annotations

from pipeline.console.pages.editor import NEW
from pipeline.policy.canonical import to_canonical_json
from pipeline.policy.parsing.parse import load_policy
from tests.unit.console.conftest import Console


def test_what_the_form_makes_is_a_policy_that_says_what_it_earns():
    text = NEW.format(name="shop", first="red", second="blue", kind="click", window="1d")
    made = load_policy(text, "the form")
    assert made.algorithm.name == "auto_rates"  # nobody has to choose a number
    assert (made.name, made.arm_names, made.guardrails.holdout is not None) == ("shop", ("red", "blue"), True)


async def test_the_text_of_a_definition_is_that_definition(console: Console):
    made = load_policy(NEW.format(name="shop", first="red", second="blue", kind="click", window="1d"), "x")
    console.tell(made)
    page = await console.page("/policies/shop/definition")
    text = page.partition("<textarea")[2].partition(">")[2].partition("</textarea>")[0]
    # What a browser makes of the page's escapes.
    for written, meant in (("&#34;", '"'), ("&lt;", "<"), ("&gt;", ">"), ("&amp;", "&")):
        text = text.replace(written, meant)
    assert to_canonical_json(load_policy(text, "the page")) == to_canonical_json(made)
