"""Notes whose sections are written by several commands."""

from __future__ import annotations

from mmts.tracking.note import mark_code, set_section, write_table

NOTE = "Forecasts load.\n\n## Data\n\nOne file.\n\n## Model\n\nA patch encoder."


def test_a_new_section_stands_before_the_others() -> None:
    found = set_section(NOTE, "Verdict", "Good.")
    assert found.startswith("Forecasts load.\n\n## Verdict\n\nGood.\n\n## Data\n\nOne file.")
    assert found.endswith("## Model\n\nA patch encoder.")


def test_a_section_is_replaced_in_its_place() -> None:
    found = set_section(NOTE, "Data", "Two files.")
    assert found == NOTE.replace("One file.", "Two files.")
    assert set_section(found, "Data", "Two files.") == found


def test_a_heading_that_begins_alike_is_another() -> None:
    found = set_section(set_section("", "Verdict: validation split", "Fair."), "Verdict", "Good.")
    assert found == "## Verdict\n\nGood.\n\n## Verdict: validation split\n\nFair."


def test_what_somebody_wrote_by_hand_stays() -> None:
    mine = "Forecasts load.\n\nLook at May!\n\n## Mine\n\n### Verdict\n\n- broken meter"
    found = set_section(mine, "Verdict", "Good.")
    assert "Look at May!" in found
    assert found.endswith("## Mine\n\n### Verdict\n\n- broken meter")


def test_names_do_not_break_a_table() -> None:
    table = write_table(("name", "rows"), [[mark_code("a|b`c\n"), "3"]], 1)
    assert table.splitlines() == ["| name | rows |", "| --- | ---: |", "| `a\\|b'c ` | 3 |"]
