"""The document of performance, which a command fills."""

from __future__ import annotations

import json
import re
from pathlib import Path

import performance
import pytest
from performance_parts import PARTS
from performance_tables import NOT_YET, TABLES, fill_document

from tests.conftest import ROOT

MACHINE = {"processor": "P", "cores": 2, "python": "3", "packages": {"torch": "2"}}
FEEDING = {
    "feeding": [
        {"case": case, "batch": 32, "windows_per_second": 999_999.0, "bytes_per_window": 1000,
         "share_of_copy": [0.81, 0.8, 0.83]}
        for case in ("one stream", "three streams")
    ]
}  # fmt: skip


def test_every_part_has_a_script_and_a_table_and_a_place_in_the_document() -> None:
    text = (ROOT / "docs/performance.md").read_text()
    assert re.findall(r"<!-- table (\w+) -->", text) == [*TABLES]
    assert TABLES.keys() == PARTS.keys()
    assert all((ROOT / "benchmarks" / part.script).is_file() for part in PARTS.values())


def test_the_document_shows_the_results_that_are_kept() -> None:
    text = (ROOT / "docs/performance.md").read_text()
    assert fill_document(text, performance.read_results(performance.RESULTS)) == text


def test_a_table_tells_which_aim_is_missed_and_touches_nothing_else() -> None:
    command = "python benchmarks/feeding.py --turns 99"
    part = {
        "command": command, "found": FEEDING, "date": "today", "seconds": 3.0, "machine": MACHINE
    }  # fmt: skip
    text = "Before.\n<!-- table feeding -->\nold\n<!-- end -->\nAfter 5 %.\n"
    filled = fill_document(text, {"feeding": part})
    assert filled.startswith("Before.\n")
    assert filled.endswith("\nAfter 5 %.\n")
    assert "old" not in filled
    # What was measured is of the command of its day.
    assert f"```sh\n{command}\n```" in filled
    one, three = (line for line in filled.splitlines() if " stream" in line and "999" in line)
    assert one.endswith("| met |")
    assert three.endswith("| **missed** |")
    assert fill_document(filled, {"feeding": part}) == filled
    assert NOT_YET in fill_document(filled, {})


def test_a_marker_that_names_no_part_is_refused() -> None:
    with pytest.raises(ValueError, match="no part 'speed'"):
        fill_document("<!-- table speed --><!-- end -->", {})


def test_quick_numbers_never_reach_the_document(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        performance.parse_arguments(["--quick"])
    assert "its numbers are no results" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("name", ["feeding", "overhead", "added"])
def test_a_part_is_measured_kept_and_written(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    document, results = tmp_path / "d.md", tmp_path / "r.json"
    document.write_text(f"<!-- table {name} -->\n<!-- end -->\n")
    words = ["p", name, "--quick", "--results", str(results), "--document", str(document)]
    monkeypatch.setattr("sys.argv", words)
    performance.main()
    kept = json.loads(results.read_text())["parts"][name]
    assert kept["command"] == PARTS[name].command(is_quick=True)
    assert NOT_YET not in document.read_text()
