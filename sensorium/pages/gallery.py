"""Pictures with what was asked, what the model said, and what is true."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sensorium.data.images import open_picture
from sensorium.errors import DataError
from sensorium.evaluation.suite import Case, Report
from sensorium.pages.html import Html, image, section, tag
from sensorium.pages.results import answers_of_twin, gallery, graded

Twin = Mapping[tuple[str, str], str]


def gallery_section(reports: Sequence[Report], blind: Sequence[Report], pictures: int) -> Html:
    """Held-out pictures, evenly spaced over the suites, with the text-only twin's answers where they differ."""
    chosen = gallery(reports, pictures)
    if not chosen:
        return Html()
    twin = answers_of_twin(blind)
    cards = [_card(name, cases, twin) for name, cases in chosen.items()]
    only = tag("label", tag("input", type="checkbox", id="mistakes"), "mistakes only", class_="filter")
    note = f"{len(cards)} pictures at even distances in the suites, so nobody chose them. "
    note += "A right answer is green with a tick; a wrong one is red and followed by the truth."
    return section("What it says", tag("div", only, tag("div", *cards, class_="gallery"), class_="results"), note=note)


def _card(name: str, cases: list[Case], twin: Twin) -> Html:
    pictures = [_picture(segment.source, name) for segment in cases[0].sample.images]
    lines = [_line(case, twin.get((name, case.question))) for case in cases]
    flawless = all(case.correct for case in cases if graded(case))
    footer = tag("li", tag("span", name, class_="aside id", title=name), class_="fine")
    return tag("div", *pictures, tag("ul", *lines, footer), class_="card flawless" if flawless else "card")


def _picture(source: object, name: str) -> Html:
    try:
        return image(open_picture(source, name), alt=f"picture of {name}")  # type: ignore[arg-type]
    except DataError as error:
        return tag("p", str(error), class_="banner")


def _line(case: Case, twin: str | None) -> Html:
    question = tag("div", case.question) if case.question else None
    if not graded(case):
        truth = tag("span", "truth: ", case.expected, class_="aside")
        return tag("li", question, tag("span", case.answer or "(nothing)", class_="answer"), truth, class_="fine")
    said = case.answer or "(nothing)"
    if case.correct:
        verdict = (tag("span", "✓ ", said, class_="answer right"),)
    else:
        verdict = (tag("span", "✗ ", said, class_="answer wrong"), " · ", tag("span", case.expected, class_="truth"))
    blind = (
        tag("span", "without the picture: ", twin or "(nothing)", class_="aside") if twin not in (None, said) else None
    )
    return tag("li", question, verdict, blind, class_="fine" if case.correct else None)
