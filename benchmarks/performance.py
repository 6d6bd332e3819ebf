"""All measurements of speed and memory in one command, and the tables of docs/performance.md.

python benchmarks/performance.py                     # all parts, one after another
python benchmarks/performance.py feeding startup     # some of them
python benchmarks/performance.py --list              # what there is, without measuring
python benchmarks/performance.py --tables            # writes the tables again, from the results

Each part is a command of its own, in a process of its own. What it found is kept in the results,
with its command, date and machine; parts that are not asked for stay as they are. The document's
tables stand between markers, and nothing else in it is touched. `--quick` makes every part so
short that its numbers tell nothing, to see that it runs; it wants files of its own to write to.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from performance_parts import PARTS, Part
from performance_tables import fill_document
from taking_turns import describe_machine

from mmts.files import write_whole

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks/results/performance.json"
DOCUMENT = ROOT / "docs/performance.md"
PACKAGES = ("torch", "pytorch-lightning", "mlflow", "pandas", "numpy")


def main() -> None:
    """Measure what was asked for, keep it, and write the tables."""
    arguments = parse_arguments()
    if arguments.list:
        for name, part in PARTS.items():
            print(f"{name:10} about {part.minutes:.1f} min  {part.command()}")
        print(f"together about {sum(part.minutes for part in PARTS.values()):.0f} min on two cores")
        return
    results = read_results(arguments.results)
    failed = []
    for name in () if arguments.tables else arguments.parts:
        print(f"== {name}: {PARTS[name].command(arguments.quick)}", flush=True)
        measured = measure(PARTS[name], arguments.quick)
        if measured is None:
            failed.append(name)
            continue
        results[name] = measured
        # At once, so that what is broken off later keeps what is done.
        write_whole(arguments.results, json.dumps({"parts": results}, indent=1) + "\n")
    text = arguments.document.read_text(encoding="utf-8")
    write_whole(arguments.document, fill_document(text, results))
    print(f"{arguments.document}: tables written from {arguments.results}")
    if failed:
        sys.exit(f"failed, and left as they were: {', '.join(failed)}")


def parse_arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", help="by default all")
    parser.add_argument("--list", action="store_true", help="print the parts and end")
    parser.add_argument("--tables", action="store_true", help="measure nothing")
    parser.add_argument("--quick", action="store_true", help="only see that all parts run")
    parser.add_argument("--results", type=Path, default=RESULTS, help="JSON file to go on in")
    parser.add_argument("--document", type=Path, default=DOCUMENT, help="where tables are written")
    arguments = parser.parse_args(given)
    unknown = [name for name in arguments.parts if name not in PARTS]
    if unknown:
        parser.error(f"there is no part {', '.join(unknown)}; there are {', '.join(PARTS)}")
    if arguments.quick and (arguments.results == RESULTS or arguments.document == DOCUMENT):
        parser.error("--quick: its numbers are no results; name other files by --results and "
                     "--document, such as a copy of the document")  # fmt: skip
    arguments.parts = arguments.parts or list(PARTS)
    return arguments


def read_results(path: Path) -> dict[str, dict[str, Any]]:
    """Return what was found before, by part."""
    if not path.exists():
        return {}
    parts: dict[str, dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["parts"]
    return parts


def measure(part: Part, is_quick: bool) -> dict[str, Any] | None:
    """Run one part; returns None, after its message, when it fails."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "found.json"
        command = [sys.executable, *part.words(is_quick), part.json_option, str(output)]
        if subprocess.run(command, cwd=ROOT, check=False).returncode:
            return None
        found = json.loads(output.read_text(encoding="utf-8"))
    machine = {**describe_machine(), "packages": {name: version(name) for name in PACKAGES}}
    # What the part says of its own process, such as its threads, is nearer to the truth.
    if isinstance(found, dict):
        machine |= found.pop("machine", {})
    return {
        "command": part.command(is_quick),
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "seconds": round(time.monotonic() - began, 1),
        "machine": machine,
        "found": found,
    }


if __name__ == "__main__":
    main()
