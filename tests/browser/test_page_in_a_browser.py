"""qllm.html in a real browser: what a release meeting reads, and what must not happen when it opens it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from made_report import ITEMS, PATIENCE, PLANTED, REGIMES, Open, write_report

from pytest_qllm.report.html import write
from pytest_qllm.report.html.signs import SIGNS
from pytest_qllm.report.reader import Report, load_report
from pytest_qllm.report.record import Record

CELL = "/cell/gptq-2bit/mmlu"


def of(report: Report, regime: str, benchmark: str) -> Record:
    return next(one for one in report.verdicts if (one.regime, one.benchmark) == (regime, benchmark))


def test_the_first_screen_says_what_may_ship(opened: Open, report: Report) -> None:
    page = opened()
    answers = dict(
        zip(
            page.locator("tbody .regime strong").all_inner_texts(),
            ["", *page.locator("td.answer > strong").all_inner_texts()],
            strict=True,
        )
    )
    assert answers["bnb-int8"] == "Yes"
    assert answers["gptq-2bit"] == answers["bnb-nf4"] == "No"
    assert "may ship: bnb-int8" in page.locator(".lead").inner_text().lower()
    assert page.locator(".matrix").bounding_box()["y"] < 300


def test_the_matrix_has_the_verdicts_of_the_json(opened: Open, report: Report) -> None:
    page = opened()
    names = page.locator(".matrix a").evaluate_all("links => links.map(one => one.getAttribute('aria-label'))")
    verdicts = {f"{one.benchmark} on {one.regime}: {SIGNS[one.standing].word}" for one in report.verdicts}
    assert {name.split(",")[0] for name in names if "on fp16" not in name} == verdicts
    assert page.locator(".matrix .dimension").all_inner_texts() == ["knowledge", "language", "reasoning"]
    # A word and a letter stand beside every colour.
    words = page.locator(".matrix .word").all_inner_texts()
    assert len(words) == len(verdicts)
    assert {word.split()[0] for word in words} <= {sign.letter for sign in SIGNS.values()}


def test_every_plot_is_drawn(opened: Open) -> None:
    page = opened()
    canvases = page.locator("#overview .canvas")
    assert canvases.count() >= 5 + 2 + 2 + 4  # effects, memory, divergence and flips, perplexity
    for at in range(canvases.count()):
        canvases.nth(at).scroll_into_view_if_needed()
        canvases.nth(at).locator("svg.main-svg").first.wait_for()
    page.wait_for_function(
        "[...document.querySelectorAll('#overview .canvas')].every(one => one.dataset.drawn === 'done')"
    )
    assert all(page.locator("#overview .canvas").evaluate_all("all => all.map(one => one.getAttribute('aria-label'))"))


def test_a_cell_shows_its_evidence(opened: Open, report: Report) -> None:
    record = of(report, "gptq-2bit", "mmlu")
    page = opened()
    page.get_by_role("link", name="mmlu on gptq-2bit").click()
    page.get_by_role("heading", name="mmlu on gptq-2bit").wait_for()
    assert page.url.endswith(f"#{CELL}")
    text = page.locator("#page").inner_text()
    for part in (
        "The loss is proven larger",
        f"{record.broken} broken",
        record.rerun,
        "noise floor",
        "\N{MINUS SIGN}8.0 points",
    ):
        assert part in text, part
    page.locator("#page .canvas svg.main-svg").first.wait_for()
    page.get_by_text("Provenance").click()
    assert "99b36bff" in page.locator(".provenance").inner_text()
    page.go_back()
    page.locator(".matrix").wait_for()


def test_a_known_loss_says_why(opened: Open) -> None:
    page = opened("/cell/gptq-2bit/lambada")
    assert "two bits lose the last word" in page.locator(".known-loss").inner_text()
    assert "ACCEPTED" in page.locator(".finding").inner_text()


def test_the_items_that_changed(opened: Open, report: Report) -> None:
    record = of(report, "gptq-2bit", "mmlu")
    page = opened(CELL)
    page.locator(".list summary").first.wait_for()
    assert record.broken is not None
    assert record.mended is not None
    shown = page.locator(".pages [role=status]").inner_text()
    assert shown.endswith(f"of {record.broken + record.mended}")
    page.locator(".list summary .mark.broken").first.click()
    body = page.locator(".list details[open] .body")
    text = body.inner_text()
    assert "Question" in text
    assert "baseline 1, candidate 0" in text
    assert body.locator("tr.right th").inner_text().endswith("✓ right")
    baseline, candidate = (body.locator(f"tbody td:nth-child({at})").all_inner_texts() for at in (2, 3))
    right = body.locator("tbody tr").evaluate_all("rows => rows.findIndex(row => row.className === 'right')")
    assert "its answer" in baseline[right]
    assert "its answer" not in candidate[right]
    assert sum("its answer" in one for one in candidate) == 1


@pytest.mark.parametrize("state", ["broken", "mended", "same", "all"])
def test_filter(opened: Open, report: Report, state: str) -> None:
    record = of(report, "gptq-2bit", "mmlu")
    expected = {"broken": record.broken, "mended": record.mended, "all": record.n}
    page = opened(CELL)
    page.locator(f".controls input[value={state}]").check(force=True)
    marks = page.locator(".list .mark").evaluate_all("all => all.map(one => one.classList[1])")
    if state != "all":
        assert set(marks) == {state}
        expected["same"] = record.n - (record.broken or 0) - (record.mended or 0)
    assert page.locator(".pages [role=status]").inner_text().endswith(f"of {expected[state]}")


def test_search_and_subset(opened: Open, report: Report) -> None:
    page = opened(CELL)
    page.locator(".controls input[value=all]").check(force=True)
    page.locator(".search input").fill("question 77:")
    page.get_by_text("1\N{EN DASH}1 of 1", exact=True).wait_for()
    assert "Question 77:" in page.locator(".list .question").inner_text()
    page.locator(".search input").fill("nothing is like this")
    page.get_by_text("no item is like that").wait_for()
    page.locator(".search input").fill("")
    page.locator(".subset select").select_option("anatomy")
    page.get_by_text(f"of {ITEMS // 6}", exact=False).first.wait_for()
    assert set(page.locator(".list .question i").all_inner_texts()) == {"anatomy · "}


def test_cluster_totals_add_up(opened: Open, report: Report) -> None:
    record = of(report, "gptq-2bit", "mmlu")
    page = opened(CELL)
    page.get_by_text("totals of 6 subsets").click()
    rows = [row.split("\t") for row in page.locator(".clusters tbody tr").all_inner_texts()]
    assert sum(int(row[1]) for row in rows) == record.n
    assert sum(int(row[2]) for row in rows) == record.broken
    worst = max(rows, key=lambda row: int(row[2]))
    assert f"{worst[2]} of {record.broken} losses are in " in page.locator(".summary").inner_text()


def test_texts_of_a_perplexity_are_worse_or_better(opened: Open, report: Report) -> None:
    page = opened("/cell/gptq-2bit/story_perplexity")
    page.locator(".list summary").first.click()
    assert "worse" in page.locator(".list .mark").first.inner_text()
    assert "nats per token over" in page.locator(".body").inner_text()


def test_generated_answers_side_by_side(opened: Open) -> None:
    page = opened("/cell/gptq-2bit/gsm8k")
    page.locator(".list summary .mark.broken").first.click()
    text = page.locator(".body").inner_text()
    assert "So the answer is 17." in text
    assert "ended by the limit of tokens" in text
    assert page.locator(".body .pair pre").count() == 2


def test_what_a_model_says_is_text(opened: Open, report: Report) -> None:
    assert PLANTED not in report.path.with_name("qllm.html").read_text()
    page = opened()
    assert PLANTED in page.locator("#errors").inner_text()
    page.goto(f"{page.url.split('#')[0]}#/cell/gptq-2bit/gsm8k")  # in every answer
    page.locator(".list summary").first.click()
    assert PLANTED in page.locator(".body").inner_text()
    page.goto(f"{page.url.split('#')[0]}#{CELL}")  # in one prompt and one choice
    page.locator(".controls input[value=all]").check(force=True)
    page.locator(".search input").fill("window.planted")
    page.get_by_text("1\N{EN DASH}1 of 1", exact=True).wait_for()
    page.locator(".list summary").click()
    assert page.locator(".body").inner_text().count(PLANTED) == 2
    assert page.evaluate("window.planted") is None
    assert page.locator("img").count() == 0


def test_the_browser_itself_refuses_a_planted_script(browser: object, report: Report) -> None:
    page = browser.new_page()  # type: ignore[attr-defined]
    refused: list[str] = []
    page.on("console", lambda message: refused.append(message.text))
    page.goto(report.path.with_name("qllm.html").as_uri())
    page.evaluate(
        "document.body.append(Object.assign(document.createElement('script'), {textContent: 'window.planted = 3'}))"
    )
    page.evaluate("document.body.append(Object.assign(new Image(), {src: 'http://127.0.0.1:9/x.png'}))")
    deadline = time.monotonic() + PATIENCE / 1000
    while len(refused) < 2 and time.monotonic() < deadline:
        page.wait_for_timeout(50)
    assert page.evaluate("window.planted") is None
    assert sum("Content Security Policy" in one for one in refused) == 2
    page.close()


def _light(page: object) -> float:
    """How light the paper is, from 0 to 1."""
    rgb = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/[0-9.]+/g).slice(0, 3).map(Number)")  # type: ignore[attr-defined]
    return sum(rgb) / 3 / 255


def test_dark_and_light(opened: Open) -> None:
    assert _light(opened(color_scheme="light")) > 0.9
    page = opened(color_scheme="dark")
    assert _light(page) < 0.2
    theme = page.get_by_role("button", name="Colours")
    theme.click()
    assert (theme.inner_text().split()[-1], _light(page) > 0.9) == ("light", True)
    page.reload()
    assert _light(page) > 0.9
    theme.click()
    assert (theme.inner_text().split()[-1], _light(page) < 0.2) == ("dark", True)


@pytest.mark.parametrize("place", ["", CELL, "/cell/gptq-4bit/story_perplexity"])
def test_on_a_phone_nothing_is_cut_off(opened: Open, place: str) -> None:
    page = opened(place, width=390, is_mobile=True, has_touch=True)
    if place:
        page.locator(".list summary").first.click()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.evaluate("innerWidth") == 390


def test_with_the_keyboard_alone(opened: Open) -> None:
    page = opened()
    page.locator(".matrix a").first.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.getAttribute('aria-label')").startswith("mmlu on bnb-int8")
    page.keyboard.press("Enter")
    page.locator(".list summary").first.wait_for()
    assert page.evaluate("document.activeElement.tagName") == "H1"
    page.keyboard.press("/")
    page.keyboard.type("lemma")
    assert page.locator(".search input").input_value() == "lemma"
    page.locator(".list summary").first.focus()
    page.keyboard.press("Enter")
    page.locator(".list details[open] .body").wait_for()


def test_what_can_be_used_has_a_name(opened: Open) -> None:
    page = opened(CELL)
    page.locator(".list summary").first.wait_for()
    nameless = page.evaluate(
        """[...document.querySelectorAll('a, button, input, select, summary, [role=img], [role=region]')].filter(
            (one) => !(one.ariaLabel || one.textContent.trim() || one.closest('label')?.textContent.trim())
        ).map((one) => one.outerHTML)"""
    )
    assert nameless == []
    assert page.evaluate("document.documentElement.lang") == "en"


def test_on_paper(opened: Open) -> None:
    page = opened(color_scheme="dark")
    page.emulate_media(media="print")
    assert _light(page) == 1.0
    assert not page.locator(".top").is_visible()
    assert page.locator(".matrix").is_visible()


def test_a_page_that_is_not_there(opened: Open) -> None:
    page = opened("/cell/none/nothing")
    assert page.get_by_role("heading", name="No such page").is_visible()
    page.get_by_role("link", name="all verdicts").click()
    assert page.locator(".matrix").is_visible()


def test_twenty_thousand_items(opened: Open, tmp_path: Path) -> None:
    """They open, they are searched, and no more than a page of them is ever in the document."""
    found = load_report(write_report(tmp_path, items=20_000, regimes=REGIMES[-1:], planted=False))
    page = opened(CELL, write(found))
    page.locator(".list summary").first.wait_for()
    page.locator(".controls input[value=all]").check(force=True)
    assert page.locator(".pages [role=status]").inner_text() == "1\N{EN DASH}50 of 20,000"
    assert page.locator(".list > li").count() == 50
    page.locator(".search input").fill("question 19999:")
    page.get_by_text("1\N{EN DASH}1 of 1", exact=True).wait_for()


def test_without_the_texts_the_scores_are_still_there(opened: Open, report: Report, tmp_path: Path) -> None:
    import json

    for name in ("qllm.json", "items.json.gz"):
        (tmp_path / name).write_bytes(report.path.with_name(name).read_bytes())
    content = json.loads((tmp_path / "qllm.json").read_text())
    (tmp_path / "qllm.json").write_text(json.dumps({**content, "texts": None}))
    page = opened(CELL, write(load_report(tmp_path)))
    page.locator(".list summary").first.click()
    assert (
        "baseline 1, candidate 0" in page.locator(".body").inner_text()
        or "baseline 0, candidate 1" in page.locator(".body").inner_text()
    )
