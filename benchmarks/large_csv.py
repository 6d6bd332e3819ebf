"""Training on a CSV file larger than the memory that it may take, and starting again from cache.

python benchmarks/large_csv.py --gigabytes 2

Writes such a file, trains on it twice by the real command, and prints for each run the time, the
peak of memory and the bytes that were read by system calls. The second run maps the cache: what
it reads is next to nothing beside the file. Memory is counted twice: all that is resident, of
which mapped pages may be dropped by the system at any time, and what is the process's own.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

ROWS_PER_ITEM = 500_000
COVARIATES = 8
MEGABYTE = 1e6

CONFIG = """
name: large-csv
data:
  horizon: 24
  cache_folder: {cache}
  streams:
    readings:
      path: {path}
      time: time
      item: sensor
      target: [y]
      past: [{past}]
      context_length: 96
  split: {{validation: 0.9, test: 0.902, end: 0.904}}
model:
  encoders:
    readings: {{kind: patch, dim: 16, num_layers: 1, patch_length: 24}}
  head: {{kind: point, dim: 16}}
training: {{max_epochs: 1, batch_size: 256, steps_per_epoch: 200}}
tracking: {{enabled: false}}
"""


def main() -> None:
    """Write the file, train twice, print and keep what was measured."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=2.0)
    parser.add_argument("--folder", type=Path, help="where to write; by default a temporary folder")
    parser.add_argument("--output", type=Path, help="JSON file to write")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        rows = write_csv(folder / "readings.csv", arguments.gigabytes * 1e9)
        size = (folder / "readings.csv").stat().st_size
        print(f"readings.csv: {size / 1e9:.2f} GB, {rows:,} rows of {1 + COVARIATES} numbers")
        past = ", ".join(f"x{place}" for place in range(COVARIATES))
        (folder / "large.yaml").write_text(
            CONFIG.format(cache=folder / "cache", path=folder / "readings.csv", past=past)
        )
        found = []
        for start in ("first", "second"):
            measured = run_measured(folder, start)
            found.append({"start": start, "csv_bytes": size, **measured})
            print(
                f"{start:6} start: {measured['seconds']:6.1f} s, "
                f"peak {measured['peak_resident'] / MEGABYTE:,.0f} MB resident, "
                f"{measured['peak_own'] / MEGABYTE:,.0f} MB its own, "
                f"{measured['read'] / MEGABYTE:,.0f} MB read"
            )
    if arguments.output:
        arguments.output.write_text(json.dumps(found, indent=2) + "\n")


def write_csv(path: Path, num_bytes: float) -> int:
    """Write sensors one after another, minute by minute, until the file is large enough."""
    random = np.random.default_rng(0)
    times = pd.date_range("2023-01-01", periods=ROWS_PER_ITEM, freq="min")
    stamps = times.strftime("%Y-%m-%d %H:%M").to_list()
    numbers = random.normal(size=(100_000, 1 + COVARIATES)).cumsum(axis=1)
    cells = [",".join(f"{number:.8f}" for number in row) for row in numbers.tolist()]
    header = ",".join(["time", "sensor", "y", *(f"x{place}" for place in range(COVARIATES))])
    rows = 0
    with path.open("w", encoding="ascii") as file:
        file.write(header + "\n")
        while file.tell() < num_bytes:
            sensor = f"s{rows // ROWS_PER_ITEM:03}"
            shift = int(random.integers(len(cells)))
            for begin in range(0, ROWS_PER_ITEM, 50_000):
                block = range(begin, begin + 50_000)
                file.write(
                    "".join(
                        f"{stamps[row]},{sensor},{cells[(row + shift) % len(cells)]}\n"
                        for row in block
                    )
                )
            rows += ROWS_PER_ITEM
    return rows


def run_measured(folder: Path, start: str) -> dict[str, float]:
    """Train in a new process; returns seconds, peaks of memory and bytes read."""
    command = [sys.executable, "-m", "mmts.pipelines.main", "train", str(folder / "large.yaml")]
    command += ["--run-dir", str(folder / f"run-{start}")]
    began = time.monotonic()
    with (folder / f"{start}.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        peaks = {"peak_resident": 0.0, "peak_own": 0.0, "read": 0.0}
        while process.poll() is None:
            for name, value in look_at(process.pid).items():
                peaks[name] = max(peaks[name], value)
            time.sleep(0.05)
    if process.returncode:
        sys.exit((folder / f"{start}.log").read_text())
    return {"seconds": time.monotonic() - began, **peaks}


def look_at(pid: int) -> dict[str, float]:
    """Read the peak of resident memory, the memory of its own, and the bytes read so far."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        counted = Path(f"/proc/{pid}/io").read_text()
    except OSError:
        return {}
    lines = dict(line.split(":", 1) for line in (status + counted).splitlines() if ":" in line)
    if "VmHWM" not in lines:
        return {}
    return {
        "peak_resident": float(lines["VmHWM"].split()[0]) * 1024,
        "peak_own": float(lines["RssAnon"].split()[0]) * 1024,
        "read": float(lines["rchar"]),
    }


if __name__ == "__main__":
    if not Path("/proc").is_dir():
        sys.exit("This benchmark reads /proc, which only Linux has.")
    main()
