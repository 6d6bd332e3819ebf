"""The tables of docs/performance.md, from what was measured."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import mean, stdev
from typing import Any

from performance_parts import PARTS
from real_tables import as_markdown

Found = Any
Row = Sequence[str]
Results = Mapping[str, Mapping[str, Any]]

NOT_YET = "Not measured yet."
COPY_SHARE, WINDOWS = 0.8, 1_000_000
ADDED, OF_BARE, STRETCH = 0.15, 1.02, 1.15
STEADY, OWN_BYTES = 1.05, 1.0
BUSY = 0.9
HELP, FORECAST = 0.1, 1.2


def fill_document(text: str, results: Results) -> str:
    """Write a table between each pair of markers, `<!-- table NAME -->` and `<!-- end -->`.

    A part that was not measured says so. Raises ValueError for a name that is no part.
    """

    def fill(found: re.Match[str]) -> str:
        name = found["name"]
        if name not in TABLES:
            raise ValueError(f"docs/performance.md: there is no part {name!r}")
        # What was measured may be of an earlier command.
        command = results[name]["command"] if name in results else PARTS[name].command()
        lines = [f"<!-- table {name} -->", "```sh", command, "```", ""]
        lines += describe(name, results[name]) if name in results else [NOT_YET]
        return "\n".join([*lines, "<!-- end -->"])

    return re.sub(r"<!-- table (?P<name>\w+) -->.*?<!-- end -->", fill, text, flags=re.DOTALL)


def describe(name: str, part: Mapping[str, Any]) -> list[str]:
    """Return the table of a part, and where and when it was measured, in lines."""
    rows, machine = list(TABLES[name](part["found"])), part["machine"]
    packages = ", ".join(f"{package} {number}" for package, number in machine["packages"].items())
    return [
        as_markdown(rows) if len(rows) > 1 else rows[0][0],
        "",
        f"{part['date']}, {part['seconds']:.0f} s, {machine['processor']}, {machine['cores']} "
        f"cores, Python {machine['python']}, {packages}.",
    ]


def spread(values: Sequence[float], spec: str = ".2f") -> str:
    """Write a median, and its quartiles in brackets."""
    middle, low, high = values
    return f"{middle:{spec}} [{low:{spec}}, {high:{spec}}]"


def verdict(is_met: bool) -> str:
    """Say whether an aim is reached."""
    return "met" if is_met else "**missed**"


def feeding(found: Found) -> Iterator[Row]:
    yield "case", "batch", "windows/s", "bytes each", "of a copy", "aim", ""
    for row in found["feeding"]:
        if row["case"] == "one stream":
            aim, is_met = f"{COPY_SHARE} of a copy", row["share_of_copy"][0] >= COPY_SHARE
        else:
            aim, is_met = f"{WINDOWS:,} windows/s", row["windows_per_second"] >= WINDOWS
        yield (
            row["case"], str(row["batch"]), f"{row['windows_per_second']:,.0f}",
            f"{row['bytes_per_window']:,}", spread(row["share_of_copy"]), aim, verdict(is_met),
        )  # fmt: skip


def overhead(found: Found) -> Iterator[Row]:
    yield ("model", "batch", "bare, ms a step", "plain of bare", "mmts of bare",
           "mmts less plain, ms", "mmts less fed, ms", "computed more than fed, ms",
           "aim", "")  # fmt: skip
    for row in found["overhead"]:
        ratio, added = row["ratio"]["mmts"][0], row["added"]
        aims = [(f"adds {ADDED} ms to fed", added["fed"][0] <= ADDED)]
        if row["model"] == "transformer" and row["batch"] == 256:
            aims.append((f"{OF_BARE} of bare", ratio <= OF_BARE))
        if row["model"] == "linear" and row["batch"] == 32:
            aims.append((f"stretch: {STRETCH} of bare", ratio <= STRETCH))
        yield (
            row["model"], str(row["batch"]), spread(row["milliseconds"]["bare"], ".3f"),
            spread(row["ratio"]["plain"], ".3f"), spread(row["ratio"]["mmts"], ".3f"),
            *(spread(added[name], ".3f") for name in ("plain", "fed")),
            spread(row["added_cpu"]["fed"], ".3f"),
            *_both(aims),
        )  # fmt: skip


def added(found: Found) -> Iterator[Row]:
    yield ("model", "batch", "bare, ms a step", "mmts of bare", "mmts less plain, ms",
           "mmts less fed, ms", "computed more than fed, ms", "aim", "")  # fmt: skip
    for row in found["overhead"]:
        ratio, added = row["ratio"]["mmts"], row["added"]
        aims = [(f"adds {ADDED} ms to fed", added["fed"][0] <= ADDED)]
        if row["model"] == "long-rest" and row["batch"] == 256:
            aims.append((f"{OF_BARE} of bare", ratio[0] <= OF_BARE))
        yield (
            row["model"], str(row["batch"]), spread(row["milliseconds"]["bare"], ".3f"),
            spread(ratio, ".3f"), *(spread(added[name], ".3f") for name in ("plain", "fed")),
            spread(row["added_cpu"]["fed"], ".3f"), *_both(aims),
        )  # fmt: skip


def _both(aims: Sequence[tuple[str, bool]]) -> tuple[str, str]:
    """Return aims and verdicts, each as one cell."""
    return "; ".join(aim for aim, _ in aims), ", ".join(verdict(is_met) for _, is_met in aims)


def profile(found: Found) -> Iterator[Row]:
    yield "part", "before, ms a step", "after, ms a step"
    times = found["milliseconds"]
    for part in times["after"]:
        yield part, *(spread(times[w][part]) if part in times[w] else "" for w in times)
    yield "**step**", *(spread(found["step"][way], ".1f") for way in times)


def growth(found: Found) -> Iterator[Row]:
    yield ("more", "items x rows", "ms a step", "of the smallest", "", "memory per byte of data",
           "windows included", "")  # fmt: skip
    for what in ("length", "items"):
        for row in found[what]:
            memory = ("", "", "")
            if row["data_bytes"]:
                over = [m / row["data_bytes"] for m in row["memory_bytes"]]
                both = row["data_bytes"] + row["index_bytes"]
                full = [m / both for m in row["memory_bytes"]]
                # Of pages and blocks that are taken whole, a percent.
                is_met = full[0] <= OWN_BYTES + 0.01
                memory = (spread(over), spread(full), verdict(is_met))
            yield (
                what, f"{row['num_items']:,} x {row['num_rows']:,}", spread(row["milliseconds"]),
                spread(row["ratio"], ".3f"), verdict(row["ratio"][0] <= STEADY), *memory,
            )  # fmt: skip


def cache(found: Found) -> Iterator[Row]:
    yield "start", "file, MB", "seconds", "peak resident, MB", "peak its own, MB", "read, MB"
    for row in found:
        numbers = (row["csv_bytes"], row["peak_resident"], row["peak_own"], row["read"])
        file, resident, own, read = (f"{number / 1e6:,.0f}" for number in numbers)
        yield row["start"], file, f"{row['seconds']:.1f}", resident, own, read


def model(found: Found) -> Iterator[Row]:
    yield "", "", "weights", "ms a step", "of the first", "bf16 of that"
    for kind in ("encoders", "edges"):
        for row in found.get(kind, ()):
            yield (
                kind.removesuffix("s"), row["name"], f"{row['weights']:,}",
                spread(row["milliseconds"]), spread(row["of_first"]), spread(row["bf16"]),
            )  # fmt: skip


def compiled(found: Found) -> Iterator[Row]:
    yield "encoder", "ms a step", "compiled of that", "bf16 of that"
    for row in found["encoders"]:
        shown = (row["milliseconds"], row["compiled"], row["bf16"])
        yield row["name"], *map(spread, shown)


def precision(found: Found) -> Iterator[Row]:
    yield "precision", "validation loss", "change, seed by seed", "ms a step"
    for name, runs in found["runs"].items():
        losses, times = ([run[key] for run in runs] for key in ("loss", "milliseconds"))
        change = found["change_percent"]
        is_first = name == next(iter(found["runs"]))
        yield (
            name, f"{mean(losses):.5f} ± {stdev(losses):.5f}",
            "" if is_first else f"{mean(change):+.2f} % ± {stdev(change):.2f}",
            f"{mean(times):.1f} ± {stdev(times):.1f}",
        )  # fmt: skip


def padding(found: Found) -> Iterator[Row]:
    yield "stream", "encoder", "tokens", "hold nothing", "ms of the encoder", "of a step, at most"
    for row in found["padding"]:
        yield (
            row["stream"], row["encoder"], str(row["tokens"]), f"{row['empty_tokens']:.1%}",
            spread(row["milliseconds"]), f"{row['share_of_step']:.2%}",
        )  # fmt: skip


def grouping(found: Found) -> Iterator[Row]:
    yield "layer", "width", "batch", "one by one, ms", "as one, of that"
    for row in found["grouping"]:
        shown = spread(row["milliseconds"]), spread(row["ratio"])
        yield row["kind"], str(row["dim"]), str(row["batch"]), *shown


def threads(found: Found) -> Iterator[Row]:
    rows = found["threads"]
    counts = list(rows[0]["milliseconds"])
    yield ("model", "batch", "weights", *(f"{count} thread(s), ms" for count in counts),
           "the last of the first")  # fmt: skip
    for row in rows:
        times = (spread(row["milliseconds"][count]) for count in counts)
        last = spread(row["of_one"][counts[-1]])
        yield row["model"], str(row["batch"]), f"{row['weights']:,}", *times, last


def gpu(found: Found) -> Iterator[Row]:
    if found["device"] is None:
        yield ("There was no GPU on the machine: nothing was measured.",)
        return
    yield (f"model, on {found['device']}", "precision", "step", "windows/s", "ms a step", "busy",
           "memory, MB", "waits", "aim")  # fmt: skip
    for row in sorted(found["gpu"], key=lambda row: (row["weights"], row["precision"])):
        busy, memory = row["busy"], row["memory"]
        # The steps that a training asks for one by one are there to compare.
        is_aimed = row["model"] == "mid-size" and row["way"] != "plain" and busy is not None
        yield (
            row["model"], row["precision"], row["way"],
            f"{row['windows_per_second']:,.0f}", spread(row["milliseconds"]),
            "" if busy is None else f"{busy:.0%}",
            "" if memory is None else f"{memory / 1e6:,.0f}",
            {None: "", True: "yes", False: "never"}[row["waits"]],
            f"busy {BUSY:.0%}: {verdict(busy >= BUSY)}" if is_aimed else "",
        )  # fmt: skip


def startup(found: Found) -> Iterator[Row]:
    yield "command", "beside", "measured", "aim", ""
    seconds = found["help_besides_argparse"]
    shown = f"{spread(seconds, '.3f')} s more"
    yield ("`mmts --help`", "1.5 times `import argparse`", shown, f"{HELP} s",
           verdict(seconds[0] <= HELP))  # fmt: skip
    beside = {"forecast small": "small", "forecast large": "large", "again": "large"}
    for name, ratio in found["ratio"].items():
        yield (
            f"`mmts forecast`, {name.removeprefix('forecast ')}",
            f"torch, pandas and reading the {beside[name]} file", spread(ratio), str(FORECAST),
            verdict(ratio[0] <= FORECAST),
        )  # fmt: skip


def processes(found: Found) -> Iterator[Row]:
    yield "processes", "windows/s", "weights differ by", "losses differ by", "aim", ""
    for count, rate in found["windows_per_second"].items():
        if count == "1":
            yield count, f"{rate:,.0f}", "", "", "", ""
        else:
            is_met = found["weights"] <= found["tolerance"]
            yield (
                count, f"{rate:,.0f}", f"{found['weights']:.1e}", f"{found['losses']:.1e}",
                f"weights within {found['tolerance']:.0e}", verdict(is_met),
            )  # fmt: skip


TABLES: dict[str, Callable[[Found], Iterator[Row]]] = {
    "feeding": feeding,
    "overhead": overhead,
    "added": added,
    "profile": profile,
    "growth": growth,
    "cache": cache,
    "model": model,
    "compile": compiled,
    "precision": precision,
    "padding": padding,
    "grouping": grouping,
    "threads": threads,
    "gpu": gpu,
    "startup": startup,
    "processes": processes,
}
