"""The tables of docs/accuracy.md, from the runs that are kept.

python benchmarks/accuracy_document.py

It trains nothing and reads no data. Of runs of the same set, arm and seed the latest counts.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import caution
import unseen
from accuracy_data import NO_TEXT, TEXT
from accuracy_runs import BASELINES, MODEL, is_current
from accuracy_sets import FAMILIES, AccuracySet, Scores
from accuracy_tables import (
    NOTE,
    Runs,
    choose_point,
    mean_mark,
    mean_score,
    reproduction_line,
    set_table,
    short,
    target_table,
)
from caution import Trained
from real_runs import Record, ResultsFile
from real_tables import as_markdown

from mmts.files import write_whole

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks/results/accuracy.json"
UNSEEN = ROOT / "benchmarks/results/unseen.json"
DOCUMENT = ROOT / "docs/accuracy.md"
COMMAND = "python benchmarks/accuracy.py {} --data DIR --results benchmarks/results/accuracy.json"
MARKERS = re.compile(r"<!-- table (?P<name>\w+) -->.*?<!-- end -->", re.DOTALL)


def main() -> None:
    """Write the tables between the markers of the document."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--results", type=Path, default=RESULTS, help="JSON file of the runs")
    parser.add_argument("--document", type=Path, default=DOCUMENT, help="where tables are written")
    arguments = parser.parse_args()
    text = arguments.document.read_text(encoding="utf-8")
    write_whole(arguments.document, fill_document(text, ResultsFile(arguments.results).runs))
    print(f"{arguments.document}: tables written from {arguments.results}")


def fill_document(text: str, runs: Sequence[Record]) -> str:
    """Write tables between each pair of markers, `<!-- table NAME -->` and `<!-- end -->`.

    NAME is `aims`, `caution` or `unseen`, which have runs of their own, or a family of sets.
    """

    def fill(found: re.Match[str]) -> str:
        name = found["name"]
        match name:
            case "aims":
                parts = [as_markdown(list(aims(runs))), *outdated(runs)]
            case "caution":
                trained = [Trained.of(run) for run in ResultsFile(caution.RESULTS).runs]
                command = "python benchmarks/caution.py --table"
                parts = [f"```sh\n{command}\n```", as_markdown(list(caution.table(trained)))]
            case "unseen":
                parts = describe_unseen(ResultsFile(UNSEEN).runs)
            case _:
                parts = describe(name, runs)
        return "\n\n".join([f"<!-- table {name} -->", *parts, "<!-- end -->"])

    return MARKERS.sub(fill, text)


def describe(family: str, runs: Sequence[Record]) -> list[str]:
    """Return the command of a family and the tables of its sets, a paragraph each."""
    parts, notes = [f"```sh\n{COMMAND.format(family)}\n```"], [NOTE]
    hours = 0.0
    for name, chosen in FAMILIES[family].items():
        found = collect(name, chosen, runs)
        every = [
            run for by_horizon in found.values() for kept in by_horizon.values() for run in kept
        ]
        hours += sum(run["cpu_seconds"] for run in every) / 3600
        tables = [set_table(chosen, found)]
        if family == "epa_air":
            # Measured at rates of their own, so that the pooled errors are nearly those of one.
            tables.append(target_table(found))
        parts += [f"### {name}", *(as_markdown(table) for table in tables if table)]
        line = reproduction_line(name, chosen, found)
        notes += [line] if line else []
    notes.append(f"All of these took {hours:.1f} hours of one core.")
    return [*parts, "\n".join(notes)]


def describe_unseen(runs: Sequence[Record]) -> list[str]:
    """Return command, table and verdict of the series that had no part in the recipe."""
    command = "python benchmarks/unseen.py --data DIR --results benchmarks/results/unseen.json"
    rows = list(unseen.table(runs))
    return [f"```sh\n{command}\n```", as_markdown(rows), unseen.verdict(runs)]


def collect(name: str, chosen: AccuracySet, runs: Sequence[Record]) -> Runs:
    """Return the runs of a set by arm and horizon, in the order of seeds, baselines first."""
    latest: dict[tuple[str, int, int], Record] = {}
    for horizon in chosen.horizons:
        for run in runs:
            if run["set"] == f"{name}, {horizon} steps":
                latest[run["variant"], horizon, run["seed"]] = run
    arms = list(dict.fromkeys(arm for arm, _, _ in latest))
    arms.sort(key=lambda arm: BASELINES.index(arm) if arm in BASELINES else len(BASELINES))
    return {
        arm: {
            horizon: [latest[key] for key in sorted(latest) if key[:2] == (arm, horizon)]
            for horizon in chosen.horizons
        }
        for arm in arms
    }


def aims(runs: Sequence[Record]) -> Iterator[Sequence[str]]:
    """Yield a row per set: ours on average over its horizons, and by how much others are beaten.

    A baseline counts by its better figure of each measure, whichever baseline that is. Ours is
    one point forecast, the one that is better on validation.
    """
    yield "", "ours", "best baseline", "ours less that", "published", "ours less that", ""
    for family, sets in FAMILIES.items():
        arms = {", no text": NO_TEXT, ", text": TEXT} if family == "time_mmd" else {"": MODEL}
        by_set = {name: _means(name, chosen, runs) for name, chosen in sets.items()}
        for name, chosen in sets.items():
            for ending, arm in arms.items():
                yield _aim(f"{name}{ending}", by_set[name], arm, *_published(chosen))
        if family == "epa_air":
            # One set, of which each county is trained and scored by itself.
            shared = [arm for arm in by_set[name] if all(arm in means for means in by_set.values())]
            whole = {arm: _average([means[arm] for means in by_set.values()]) for arm in shared}
            yield _aim("all counties", whole, MODEL, "", None)


def outdated(runs: Sequence[Record]) -> Iterator[str]:
    """Yield a sentence that names the sets of which runs of an earlier recipe count."""
    names = []
    for sets in FAMILIES.values():
        for name, chosen in sets.items():
            found = collect(name, chosen, runs)
            horizons = [
                horizon
                for horizon in chosen.horizons
                if not all(is_current(run) for arm in found.values() for run in arm[horizon])
            ]
            if horizons == list(chosen.horizons):
                names.append(name)
            elif horizons:
                names.append(f"{name} at {' and '.join(map(str, horizons))} steps")
    if names:
        yield f"By an earlier recipe, and not run again yet: {', '.join(names)}."


def _means(name: str, chosen: AccuracySet, runs: Sequence[Record]) -> dict[str, Scores]:
    """Return the arms of a set that have run at all horizons, on average over them."""
    means = {
        arm: mean_score(chosen, found, f"test{choose_point(chosen, found)}")
        for arm, found in collect(name, chosen, runs).items()
    }
    return {arm: scores for arm, scores in means.items() if scores is not None}


def _average(scores: Sequence[Scores]) -> Scores:
    mse, mae = zip(*scores, strict=True)
    return sum(mse) / len(mse), sum(mae) / len(mae)


def _aim(
    name: str, means: Mapping[str, Scores], arm: str, label: str, mark: Scores | None
) -> Sequence[str]:
    if arm not in means:
        return name, "not run at all horizons yet", "", "", "", "", ""
    ours, known = means[arm], [means[other] for other in means if other in BASELINES]
    beside = (min(score[0] for score in known), min(score[1] for score in known))
    return (
        name, _pair(ours), _pair(beside), _gap(ours, beside),
        f"{label} {_pair(mark)}" if mark else "", _gap(ours, mark) if mark else "",
        _verdict(ours, beside, mark),
    )  # fmt: skip


def _published(chosen: AccuracySet) -> tuple[str, Scores | None]:
    """Return the published mark that is no ridge, averaged over horizons."""
    for label, marks in chosen.marks.items():
        if not label.startswith("ridge"):
            return label.removesuffix(", published"), mean_mark(chosen, marks)
    return "", None


def _pair(scores: Scores) -> str:
    return "/".join(short(value) for value in scores)


def _gap(ours: Scores, other: Scores) -> str:
    return "/".join(f"{100 * (o / b - 1):+.1f} %" for o, b in zip(ours, other, strict=True))


def _verdict(ours: Scores, beside: Scores, mark: Scores | None) -> str:
    required = all(o < b for o, b in zip(ours, beside, strict=True))
    words = ["met" if required else "**missed**"]
    if mark is not None:
        reached = all(round(o, 3) <= m for o, m in zip(ours, mark, strict=True))
        words.append("stretch met" if reached else "stretch **missed**")
    return ", ".join(words)


if __name__ == "__main__":
    main()
