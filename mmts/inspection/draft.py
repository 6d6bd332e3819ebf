"""The config of a first experiment, written with a reason beside each key."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import cast

import numpy as np

from mmts.config_base import Months
from mmts.data.reading.sources import stem_of
from mmts.errors import DataError, raise_all
from mmts.inspection.file_report import FileReport, inspect_file
from mmts.inspection.lengths import LARGE, SMALL, Lengths, choose_lengths, horizon_steps
from mmts.inspection.number_marks import Mark
from mmts.inspection.rhythm import length_of
from mmts.inspection.roles import Roles, StreamPlan, assign_roles, find_target, name_only_target
from mmts.inspection.stand_ins import find_stand_ins
from mmts.inspection.stream_lines import (
    describe_duplicates,
    describe_rows,
    names_left_out,
    stream_entries,
    warnings_of,
)
from mmts.inspection.yaml_lines import Bare, Entry, Node, Remark, render

_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Draft:
    """A config as YAML text, and what was found, in lines for the terminal."""

    text: str
    found: tuple[str, ...]


def draft_experiment(
    files: Sequence[Path],
    targets: Sequence[str],
    output: Path,
    horizon: str | None = None,
    name: str | None = None,
    time_formats: Sequence[str] = (),
    decimal: str | None = None,
) -> Draft:
    """Look at files and write a config that trains as it is.

    targets: columns; where none is named, the only column of numbers is the target.
    output: where the config will stand; paths in it are relative to its folder.
    horizon: a duration or a number of rows; by default what the rate of the target suggests.
    time_formats, decimal: how times and numbers are written where it cannot be told.
    Raises DataError with the faults of all files at once.
    """
    if decimal not in (None, ".", ","):
        raise DataError(f"--decimal {decimal}: no decimal mark. Write '.' or ','.")
    reports: list[FileReport] = []
    problems: list[str] = []
    for path in dict.fromkeys(files):
        try:
            reports.append(inspect_file(path, tuple(time_formats), cast(Mark | None, decimal)))
        except DataError as error:
            problems.append(str(error))
    raise_all(DataError, problems)
    targets = targets or name_only_target(reports)
    home = find_target(reports, targets)
    steps = horizon_steps(horizon, home)
    assert home.rhythm is not None and home.rhythm.period is not None
    roles = assign_roles(reports, home, targets, steps * length_of(home.rhythm.period))
    lengths = choose_lengths(home, roles.target.target, steps, given=horizon is not None)
    name = name or _name_of(roles)
    root, paths = _place(output, [plan.report.path for plan in roles.streams])
    lines = [
        Remark(f"Written by mmts init. Train it as it is: mmts train {output.name}"),
        Entry("name", name),
        Entry("seed", 0, "the same seed gives the same weights"),
        Remark(""),
        Entry("data", _data(roles, lengths, root, paths)),
        *_model(roles, lengths),
        Entry("tracking", [Entry("experiment", name, "under which MLflow lists the runs")]),
    ]
    text = "\n".join(render(lines)) + "\n"
    return Draft(text, tuple(_describe(roles, lengths)))


def _name_of(roles: Roles) -> str:
    targets = (column.name for column in roles.target.target[:2])
    # A file is often named after what is forecast: load.csv holds load.
    words = dict.fromkeys([stem_of(roles.target.report.path), *targets])
    name = re.sub(r"[^A-Za-z0-9_.]+", "-", "-".join(words)).strip("-._")
    return name[:60] or "experiment"


def _place(output: Path, files: Sequence[Path]) -> tuple[str, dict[Path, str]]:
    """Return data.root, empty where the files lie beside the config, and each file's path."""
    folder = output.resolve().parent
    places = {path: path.resolve() for path in files}
    common = Path(os.path.commonpath([place.parent for place in places.values()]))
    if common == folder or folder in common.parents:
        return "", {path: place.relative_to(folder).as_posix() for path, place in places.items()}
    shared = Path(os.path.commonpath([common, folder]))
    # Where nothing but the root of the disk is shared, a relative path would only be longer.
    is_near = len(shared.parts) > 1
    root = Path(os.path.relpath(common, folder)) if is_near else common
    paths = {path: place.relative_to(common).as_posix() for path, place in places.items()}
    return root.as_posix(), paths


def _data(roles: Roles, lengths: Lengths, root: str, paths: dict[Path, str]) -> list[Node]:
    nodes: list[Node] = []
    if root:
        why = "folder of the files" + ("" if Path(root).is_absolute() else ", seen from this one")
        nodes.append(Entry("root", Bare(root), why))
    nodes.append(Entry("horizon", Bare(lengths.horizon), lengths.horizon_why))
    for path, reason in roles.unused.items():
        nodes.append(Remark(f"Not used: {path.name}: {reason}."))
    absent = _items_without_target(roles)
    if absent:
        nodes.append(Entry("exclude_items", absent, "they have no value of the target"))
    streams: list[Node] = []
    for plan in roles.streams:
        streams.append(Remark(describe_rows(plan)))
        entries = stream_entries(
            plan, roles.target, lengths, paths[plan.report.path], _has_time_zone(roles)
        )
        streams.append(Entry(plan.name, entries))
    streams += _calendar(roles, lengths)
    nodes.append(Entry("streams", streams))
    train, validation, test = lengths.num_rows
    nodes.append(
        Entry(
            "split",
            [
                Entry("validation", Bare(lengths.validation), f"after {train:,} rows of train"),
                Entry("test", Bare(lengths.test), f"after {validation:,} more; {test:,} remain"),
            ],
            "Train ends where validation begins; nothing later is learned from.",
        )
    )
    nodes.append(Remark(""))
    return nodes


def _has_time_zone(roles: Roles) -> bool:
    """Whether the times of any stream state a UTC offset: all others need a zone then."""
    return any(p.report.times is not None and p.report.times.has_time_zone for p in roles.streams)


def _items_without_target(roles: Roles) -> list[str]:
    report = roles.target.report
    if report.codes is None:
        return []
    # A target was found to hold numbers, so that its values are there.
    observed = np.any([np.isfinite(c.values) for c in roles.target.target], axis=0)  # type: ignore[arg-type]
    known = set(report.codes[observed])
    return [item for place, item in enumerate(report.items) if place not in known]


def _calendar(roles: Roles, lengths: Lengths) -> list[Node]:
    """Return a stream of what the calendar tells of each row of the target."""
    report = roles.target.report
    assert report.rhythm is not None and report.times is not None
    period = report.rhythm.period
    assert period is not None
    features: list[str] = []
    why = ""
    if isinstance(period, Months):
        features = ["month"] if period.count < 12 else []
    else:
        if period < _DAY:
            features.append("time_of_day")
        if period < 7 * _DAY:
            features.append("weekday")
        if lengths.train_end - lengths.begin >= 365 * 8.64e10:
            features.append("time_of_year")
        else:
            why = "no time_of_year: the train split has seen less than a year"
    if not features:
        return []
    taken = {plan.name for plan in roles.streams}
    name = "calendar" if "calendar" not in taken else "calendar_features"
    said = "What the calendar tells of the past and of the horizon; made up, from no file."
    if report.times.has_time_zone:
        said += " Days are those of UTC; for local days add data.time_zone, such as Europe/Berlin."
    return [Remark(said), Entry(name, [Entry("calendar", features, why)])]


def _model(roles: Roles, lengths: Lengths) -> list[Node]:
    windows = lengths.num_windows
    if windows < SMALL:
        target = roles.target
        patch = max(1, min(_season(target), lengths.context_steps // 2))
        encoder = [
            Entry("kind", "patch"),
            Entry("dim", 32),
            Entry("num_layers", 2),
            Entry("patch_length", patch, "rows per token"),
            Entry("dropout", 0.2),
        ]
        return [
            Entry(
                "model",
                [Entry("encoders", [Entry(target.name, encoder)])],
                f"Small, as {windows:,} training windows are few; other streams get what suits "
                "them.",
            ),
            Remark(""),
            Entry(
                "training",
                [
                    Entry("max_epochs", 30, "an epoch is short"),
                    Entry("patience", 6, "epochs without a better validation loss"),
                    Entry("batch_size", 32 if windows >= 256 else 16, "several steps an epoch"),
                    Entry("learning_rate", 0.001),
                ],
            ),
            Remark(""),
        ]
    epochs = 10 if windows > LARGE else 20
    return [
        Remark("The model is left to its defaults; mmts config show prints them all."),
        Entry(
            "training",
            [
                Entry("max_epochs", epochs, f"passes over {windows:,} windows at most"),
                Entry("patience", 3 if epochs == 10 else 5),
                Entry("batch_size", 256 if windows > LARGE else 128),
                Entry("learning_rate", 0.001),
            ],
        ),
        Remark(""),
    ]


def _season(plan: StreamPlan) -> int:
    """Return the rows of a day, week, quarter or year: what a token may well hold."""
    assert plan.report.rhythm is not None and plan.report.rhythm.period is not None
    period = plan.report.rhythm.period
    if isinstance(period, Months):
        return max(1, 12 // period.count)
    if period < _DAY:
        return min(24, round(_DAY / period))
    return 7 if period < timedelta(days=7) else 4


def _describe(roles: Roles, lengths: Lengths) -> list[str]:
    """Return what was found, a line a stream."""
    found = []
    plain = [
        p.name
        for p in roles.streams
        if p.report.times is not None and not p.report.times.has_time_zone
    ]
    if plain and _has_time_zone(roles):
        found.append(
            f"UTC is put down for {', '.join(plain)}, whose times state no offset while others do: "
            "correct time_zone there"
        )
    for plan in roles.streams:
        counts = [
            f"{len(columns)} {role}"
            for role, columns in (
                ("target", plan.target),
                ("text" if plan.is_text else "past", plan.past),
                ("future", plan.future),
                ("static", plan.static),
            )
            if columns
        ]
        rhythm = plan.report.rhythm
        words = ", one per item" if rhythm is None else f" {rhythm.words}"
        items = f", {len(plan.report.items)} items" if plan.report.item and rhythm else ""
        rows = f"{plan.report.num_rows:,} rows{words}{items}"
        found.append(f"{plan.name}: {rows}; {', '.join(counts)}")
        left = names_left_out(plan)
        if left and not (
            plan.is_text and len({p.report.path for p in roles.streams}) < len(roles.streams)
        ):
            shown = ", ".join(left[:6]) + (f" and {len(left) - 6} more" if len(left) > 6 else "")
            found.append(f"  left out: {shown}")
        remarks = [*warnings_of(plan), *find_stand_ins(plan).remarks]
        duplicates = describe_duplicates(plan)
        if duplicates is not None:
            kind, said = duplicates
            remarks.append(f"{said} (duplicates: {kind})")
        if plan.report.table.is_partial:
            remarks.append(f"only the first {plan.report.num_rows:,} rows were looked at")
        found += [f"  note: {remark}" for remark in remarks]
    found += [f"not used: {path}: {reason}" for path, reason in roles.unused.items()]
    found.append(
        f"horizon {lengths.horizon}, context {lengths.context}, {lengths.num_windows:,} training "
        f"windows; validation from {lengths.validation}, test from {lengths.test}"
    )
    return found
