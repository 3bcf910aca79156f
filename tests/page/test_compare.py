"""Two runs on one page."""

from __future__ import annotations

from rlaif.page.compare import Side, lines, page, unlike
from rlaif.records.report import StageState
from tests.page.audited import whole, wholly_hostile
from tests.page.synthetic import evaluation, report
from tests.page.test_render import Outline


def test_numbers_stand_side_by_side_with_their_difference() -> None:
    other = report(evaluation=evaluation(kl=9.5), seed=18, guard=whole().guard)
    found = {line.name: line for line in lines(whole(), other)}
    assert found["KL from the SFT model"].cells == ("6.2", "9.5") and found["KL from the SFT model"].change == "+3.3"
    assert found["harmless"].cells == ("98\u00a0%", "98\u00a0%") and found["harmless"].change == "0\u00a0pt"
    assert found["best win rate of an audit"].cells[0] == "91\u00a0%"
    assert found["update that was kept"].cells == ("10", "10")
    win = whole().evaluation.comparisons[0].win_rate  # type: ignore[union-attr]
    assert win.low is not None and f"[{round(100 * win.low)}" in (found["policy preferred to sft"].ranges[0] or "")
    assert found["ties"].ranges == (None, None)
    outline = Outline(page(Side(whole(), "runs/a", ".."), Side(other, "runs/b", "../../b"), [("seed", "17", "18")]))
    assert not outline.open
    for words in (
        "runs/a",
        "runs/b",
        "seed 17 18",
        "Their seeds differ",
        "KL from the SFT model nats a reply 6.2 9.5 +3.3",
    ):
        assert words in outline.text, words
    links = {value for _, name, value in outline.attributes if name == "href" and value}
    assert {"../evaluate/evaluation.json", "../../b/evaluate/evaluation.json", "../../b/report/report.html"} <= links


def test_a_run_that_is_not_whole_has_dashes_and_is_named() -> None:
    half = report(evaluation=None, reward=None, labels=None, stages=[StageState(name="policy", state="missing")])
    found = {line.name: line for line in lines(whole(), half)}
    assert found["KL from the SFT model"].cells == ("6.2", None) and found["KL from the SFT model"].change is None
    outline = Outline(page(Side(whole(), "a", ".."), Side(half, "b", "../b"), []))
    assert "B is not whole" in outline.text and "policy is missing" in outline.text


def test_what_may_not_be_compared_is_said() -> None:
    assert unlike(whole(), whole()) == []
    other = whole().model_copy(update={"critic": "hf:another", "constitution": "other@2"})
    assert [text.split()[0] for text in unlike(whole(), other)] == ["Different", "They"]


def test_hostile_texts_stay_text() -> None:
    side = Side(wholly_hostile(), "<b>runs</b>", "../<img src=x>")
    text = page(side, side, [("<script>alert(1)</script>", "'\"><img src=x>", None)])
    outline = Outline(text)
    assert not outline.open and outline.tags.isdisjoint({"script", "img", "iframe"})
    assert not any("alert(" in (value or "") or name.startswith("on") for _, name, value in outline.attributes)
    assert "<script>alert(1)</script>" in outline.text
    text.encode()
