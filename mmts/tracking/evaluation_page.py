"""What the page of a run says of an evaluation."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path

from mmts.evaluation import ALL_TARGETS, BASELINES, MODEL, Evaluation, Subsets
from mmts.evaluation.report import Scores
from mmts.evaluation.subsets import Change
from mmts.score_text import say_score
from mmts.tracking.note import mark_code, write_table
from mmts.tracking.run import TrackedRun
from mmts.tracking.training_page import VERDICT

_PREFIXES = {"test": "test", "validation": "val"}
"""Of metrics and tags, by split: those of a training are grouped so as well."""


def record_evaluation(
    run: TrackedRun,
    evaluation: Evaluation,
    subsets: Subsets | None,
    variant: str,
    checkpoint: Path,
    files: Iterable[Path],
) -> None:
    """Add an evaluation to the run of the training.

    variant: of the model, as a path; empty for the model as it was trained. checkpoint: that was
    evaluated. files: written before; `report.html` of the plain evaluation on the test split
    stands at the top of the artifacts.
    """
    prefix = join(_PREFIXES[evaluation.split], variant)
    for method, found in evaluation.scores.items():
        own = prefix if method == MODEL else join(prefix, "baseline", method.replace(" ", "_"))
        run.log_metrics(_defined(own, found[ALL_TARGETS].overall), step=0)
        for step, at_step in enumerate(found[ALL_TARGETS].by_step, start=1):
            run.log_metrics(_defined(f"{own}/by_step", at_step), step=step)
        if len(evaluation.targets) > 1:
            for target in evaluation.targets:
                run.log_metrics(_defined(f"{own}/{target}", found[target].overall), step=0)
    if subsets is not None:
        _record_subsets(run, subsets, _PREFIXES[evaluation.split])
    words = prefix.replace("/", ".")
    run.set_tags(
        {
            f"{words}.verdict": evaluation.verdict,
            f"{words}.beats": ", ".join(_beaten(evaluation)) or "none",
        }
    )
    run.set_section(_heading(evaluation, variant), _say(evaluation, checkpoint))
    is_plain = evaluation.split == "test" and not variant
    place = join("evaluation", "" if evaluation.split == "test" else evaluation.split, variant)
    for file in files:
        run.log_file(file, None if is_plain and file.name == "report.html" else place)


def join(*parts: str) -> str:
    """Join what is there of a path."""
    return "/".join(filter(None, parts))


def _record_subsets(run: TrackedRun, subsets: Subsets, prefix: str) -> None:
    # The first is the evaluation itself.
    for row in subsets.rows[1:]:
        own = join(prefix, row.ablation.path)
        run.log_metrics(_defined(own, row.scores[ALL_TARGETS]), step=0)
        run.log_metrics(_defined(f"{own}/mae_change", row.changes[ALL_TARGETS]), step=0)
        if len(subsets.targets) > 1:
            for target in subsets.targets:
                run.log_metrics(_defined(f"{own}/{target}", row.scores[target]), step=0)


def _beaten(evaluation: Evaluation) -> Iterator[str]:
    target = evaluation.targets[0] if len(evaluation.targets) == 1 else ALL_TARGETS
    errors = {method: found[target].overall.mae for method, found in evaluation.scores.items()}
    for name in BASELINES:
        if errors[MODEL] < errors[name]:
            yield name


def _heading(evaluation: Evaluation, variant: str) -> str:
    if evaluation.split == "test" and not variant:
        return VERDICT
    return f"{VERDICT}: {', '.join(filter(None, [f'{evaluation.split} split', variant]))}"


def _say(evaluation: Evaluation, checkpoint: Path) -> str:
    target = evaluation.targets[0] if len(evaluation.targets) == 1 else ALL_TARGETS
    rows = []
    for method, found in evaluation.scores.items():
        scores = found[target].overall
        numbers = (scores.mae, scores.rmse, scores.mase, scores.wql, scores.crps_by_quantiles)
        covered = "-" if math.isnan(scores.coverage) else f"{scores.coverage:.1%}"
        rows.append([method, *map(say_score, numbers), covered])
    nominal = evaluation.nominal_coverage
    coverage = "coverage" if nominal is None else f"coverage of {nominal:.0%}"
    parts = [
        evaluation.verdict,
        *(evaluation.judge(name) for name in evaluation.targets if len(evaluation.targets) > 1),
        write_table((mark_code(target), "MAE", "RMSE", "MASE", "WQL", "CRPS", coverage), rows, 1),
        f"{evaluation.num_windows:,} windows, {evaluation.num_values:,} observed values; "
        f"{mark_code(checkpoint.name)} of epoch {evaluation.epoch}. `report.html` among the "
        "artifacts has pictures of it.",
    ]
    return "\n\n".join(parts)


def _defined(prefix: str, scores: Scores | Change) -> dict[str, float]:
    return {
        f"{prefix}/{name}": value for name, value in asdict(scores).items() if not math.isnan(value)
    }
