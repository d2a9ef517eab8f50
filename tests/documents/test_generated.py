"""What the code can say better than a page is written by the code, and kept up to date."""

from pathlib import Path

import pytest

from tests.documents import diagrams, generated, pages
from tests.documents.pages import ROOT

CURE = "write them anew: python -m tests.documents.generated"


def with_parts() -> list[object]:
    """The pages that have generated parts."""
    return [
        pytest.param(page, id=str(page.relative_to(ROOT)))
        for page in pages.pages()
        if generated.PART.search(page.read_text(encoding="utf-8"))
    ]


@pytest.mark.parametrize("page", with_parts())
def test_generated_parts_are_up_to_date(page: Path):
    """Every generated part of a page is what the code says today."""
    text = page.read_text(encoding="utf-8")

    assert text == generated.renewed(text), f"{page.relative_to(ROOT)} fell behind; {CURE}"


def test_every_part_stands_somewhere():
    """Each kind of generated part has its place in the documentation, once."""
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages.pages())
    names = sorted(found["name"] for found in generated.PART.finditer(text))

    assert names == sorted(generated.PARTS)


def test_a_change_would_be_noticed():
    """A part that says something else is not left as it is."""
    text = "before\n<!-- generated: limits -->\nold\n<!-- end -->\nafter\n"
    renewed = generated.renewed(text)

    assert renewed != text
    assert renewed.startswith("before\n")
    assert renewed.endswith("after\n")
    assert generated.renewed(renewed) == renewed


def test_the_diagrams_know_every_state():
    """The exploration reaches every state that a run and a step can have."""
    runs, steps = diagrams.moves()
    reached_runs = {after for _, after in runs}
    reached_steps = {after for _, after in steps} | {before for before, _ in steps}

    assert reached_runs == {"pending", "running", *diagrams.states.CLOSED}
    assert reached_steps == {
        *diagrams.states.SATISFIED,
        *diagrams.states.OPEN,
        "failed",
        "cancelled",
    }


def test_numbers_are_readable():
    """Units of limits are said in the largest unit that fits."""
    assert generated.readable("A_MS", 90_000) == "90 s"
    assert generated.readable("A_MS", 120_000) == "2 min"
    assert generated.readable("A_BYTES", 256 * 1024) == "256 KB"
    assert generated.readable("A_MAX", 20_000) == "20,000"
