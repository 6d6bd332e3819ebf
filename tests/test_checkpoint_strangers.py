"""Checkpoints from strangers: whatever the bytes, they are refused in words, and nothing runs."""

from __future__ import annotations

import json
import os
import random
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from mmts.checkpoint import load_checkpoint, read_info
from mmts.checkpoint_file import LONGEST_HEADER, write_checkpoint_file
from mmts.errors import CheckpointError
from tests.conftest import ROOT, Command
from tests.test_checkpoint import metadata_of

TRUE = ROOT / "tests/checkpoints/format_10.mmts"


def forge(path: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """Write the true checkpoint with a changed description, and with a digest that is right."""
    description = metadata_of(TRUE)
    change(description)
    write_checkpoint_file(path, description, load_file(TRUE))
    return path


def forge_text(path: Path, text: str) -> Path:
    """Write the true weights with any text as description, as an older format, without a digest."""
    save_file(load_file(TRUE), path, {"mmts": text})
    return path


def test_one_flipped_bit_anywhere_is_noticed(tmp_path: Path) -> None:
    content = TRUE.read_bytes()
    drawn = random.Random(0)
    (length,) = struct.unpack_from("<Q", content)
    places = [*range(8), *drawn.sample(range(8, 8 + length), 150)]
    places += drawn.sample(range(8 + length, len(content)), 150)
    path = tmp_path / "flipped.mmts"
    for place in places:
        flipped = bytearray(content)
        flipped[place] ^= 1 << drawn.randrange(8)
        path.write_bytes(flipped)
        with pytest.raises(CheckpointError):
            read_info(path)
    print(f"{len(places)} files with a flipped bit refused")


def test_a_flipped_weight_is_told_as_damage(tmp_path: Path) -> None:
    content = bytearray(TRUE.read_bytes())
    content[-3] ^= 1
    path = tmp_path / "flipped.mmts"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"its bytes are not those .* Copy it again"):
        load_checkpoint(path)


def test_a_file_of_any_other_length_is_refused(tmp_path: Path) -> None:
    content = TRUE.read_bytes()
    path = tmp_path / "cut.mmts"
    lengths = [*range(20), *random.Random(1).sample(range(20, len(content)), 60)]
    for data in (*(content[:length] for length in lengths), content + b"\0", content * 2):
        path.write_bytes(data)
        with pytest.raises(CheckpointError, match=r"not a checkpoint|damaged"):
            load_checkpoint(path)
    print(f"{len(lengths) + 2} files of a wrong length refused")


def test_a_new_format_without_its_digest_is_refused(tmp_path: Path) -> None:
    path = forge_text(tmp_path / "bare.mmts", json.dumps(metadata_of(TRUE)))
    with pytest.raises(CheckpointError, match="states no digest"):
        load_checkpoint(path)


def older(**changes: Any) -> str:
    return json.dumps({**metadata_of(TRUE), "format_version": 8, **changes})


BROKEN = {
    "deep": "[" * 100_000,
    "deep and closed": '{"a":' * 50_000 + "1" + "}" * 50_000,
    "a list": "[1, 2]",
    "nothing": "",
    "a key twice": older()[:-1] + ', "epoch": 2}',
    "not a number": older(validation_loss=float("nan")),
    "infinite": older(validation_loss=float("inf")),
    "an integer of 5000 digits": older().replace('"epoch": 1', '"epoch": ' + "1" * 5000),
    "an integer of 70 bits": older(epoch=2**70),
    "half a letter": older(versions={"mmts": "\ud800"}),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_description_that_nobody_writes_is_refused(tmp_path: Path, name: str) -> None:
    path = forge_text(tmp_path / "broken.mmts", BROKEN[name])
    with pytest.raises(CheckpointError, match="the description of the model is damaged"):
        load_checkpoint(path)


def test_a_header_without_end_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "long.mmts"
    with path.open("wb") as file:
        file.write(struct.pack("<Q", LONGEST_HEADER + 1))
        file.truncate(LONGEST_HEADER + 100)  # takes no room on the disk
    with pytest.raises(CheckpointError, match="header would take"):
        load_checkpoint(path)


def test_what_could_not_be_read_again_is_not_written(tmp_path: Path) -> None:
    words = {"words": "x" * LONGEST_HEADER}
    with pytest.raises(CheckpointError, match="description of the model would take"):
        write_checkpoint_file(tmp_path / "long.mmts", words, {})
    assert not list(tmp_path.iterdir())


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CheckpointError, match="is a folder"):
        load_checkpoint(tmp_path)
    for path in (tmp_path / "pipe", Path("/dev/zero"), Path("/dev/null")):
        with pytest.raises(CheckpointError, match="not a checkpoint of mmts"):
            load_checkpoint(path)


def at(*keys: str | int, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(description: dict[str, Any]) -> None:
        place: Any = description
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] = value

    return change


def rename_stream(description: dict[str, Any], name: str) -> None:
    for group in (
        description["config"]["data"], description["data_schema"]
    ):  # fmt: skip
        group["streams"][name] = group["streams"].pop("weather")
    description["scaling"][name] = description["scaling"].pop("weather")


ENCODERS = ("config", "model", "encoders")
SCHEMA = ("data_schema", "streams")

HUGE = {
    "wide tokens": at(*ENCODERS, "load", "dim", value=10**9),
    "wider than torch can count": at(*ENCODERS, "load", "dim", value=2**62),
    "many layers": at(*ENCODERS, "load", "num_layers", value=10**6),
    "layers without end": at(*ENCODERS, "load", "num_layers", value=10**15),
    "a wide layer": at(*ENCODERS, "weather", "layer_dims", value=[10**9, 12]),
    "a wide kernel": at(*ENCODERS, "weather", "kernel_size", value=10**12),
    "many heads": at(*ENCODERS, "load", "num_heads", value=10**15),
    "a wide decoder": at("config", "model", "head", "dim", value=10**9),
    "a long horizon": at("data_schema", "horizon", value=10**12),
    "a long context": at(*SCHEMA, "load", "context_steps", value=10**9),
    "many buckets": at(*SCHEMA, "plan", "columns", 1, "buckets", value=10**6),
    "faults without end": at("own_kinds", value=[0] * 300_000),
    "items of no name": at("config", "data", "exclude_items", value=[0] * 300_000),
    "a dense preset": lambda found: (
        at(*ENCODERS, "load", "num_layers", value=2000)(found),
        at(*ENCODERS, "news", "num_layers", value=2000)(found),
        at("config", "model", "interactions", value=[{"preset": "dense"}] * 50)(found),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", HUGE)
def test_a_model_that_its_file_cannot_hold_is_refused(tmp_path: Path, name: str) -> None:
    path = forge(tmp_path / "huge.mmts", HUGE[name])
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)
    assert str(path) in str(caught.value)


TRICKS = {
    "no encoder": lambda found: found["config"]["model"]["encoders"].pop("weather"),
    "a stream named as a path": lambda found: rename_stream(found, "../../etc/x"),
    "a stream of no name": lambda found: rename_stream(found, ""),
    "a run named as a path": at("run_id", value="../../x"),
    "a run of two lines": at("run_id", value="a\nb"),
    "a kind that nobody gave": at(*ENCODERS, "load", "kind", value="os.system"),
    "a kind of a path": at(
        "own_kinds", value=[{"family": "encoder", "kind": "x", "package": "../x"}]
    ),
    "an edge to nowhere": at(
        "config", "model", "interactions", 0, value={"kind": "residual", "from": "a.0", "to": "b.1"}
    ),
    "an unknown key": at("code", value="print(1)"),
}


@pytest.mark.parametrize("name", TRICKS)
def test_a_trick_in_the_description_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(CheckpointError):
        load_checkpoint(forge(tmp_path / "trick.mmts", TRICKS[name]))


def test_the_command_says_so_without_a_traceback(mmts: Command, tmp_path: Path) -> None:
    path = forge(tmp_path / "huge.mmts", HUGE["wide tokens"])
    done = mmts("forecast", path, "--output", tmp_path / "forecast.csv")
    assert done.returncode == 2
    assert "far larger than the file" in done.stderr.replace("\n", " ")
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "forecast.csv").exists()


IN_A_CHILD = """
import resource, sys
from mmts.checkpoint import load_checkpoint
from mmts.errors import CheckpointError
paths = sys.argv[1:]
load_checkpoint(paths.pop(0))
taken = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
mapped = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
room = mapped + (600 << 20)
resource.setrlimit(resource.RLIMIT_AS, (room, room))
for path in paths:
    try:
        load_checkpoint(path)
    except CheckpointError:
        print("refused")
more = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10) - taken
assert more < 600 << 20, more
"""


@pytest.mark.slow
def test_no_forged_checkpoint_takes_much_memory(tmp_path: Path) -> None:
    paths = [
        forge(tmp_path / f"{place}.mmts", change) for place, change in enumerate(HUGE.values())
    ]
    paths += [
        forge_text(tmp_path / f"text_{place}.mmts", text)
        for place, text in enumerate(BROKEN.values())
    ]
    command = [sys.executable, "-c", IN_A_CHILD, TRUE, *paths]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["refused"] * len(paths)


UNDER_WATCH = """
import sys
from mmts.checkpoint import load_checkpoint
load_checkpoint(sys.argv[1])  # so that what is imported late is there
seen = []
def watch(event, args):
    if event in ("exec", "compile", "import", "os.system", "subprocess.Popen", "os.exec",
                 "marshal.loads", "pickle.find_class", "socket.connect", "ctypes.dlopen"):
        seen.append((event, str(args)[:80]))
    if event == "open" and (args[2] or 0) & 3:
        seen.append((event, str(args)))
sys.addaudithook(watch)
for path in sys.argv[1:]:
    load_checkpoint(path)
print(seen)
"""


@pytest.mark.slow
def test_nothing_runs_is_imported_or_written_when_a_checkpoint_is_read() -> None:
    formats = sorted(TRUE.parent.glob("format_*.mmts"))
    command = [sys.executable, "-c", UNDER_WATCH, TRUE, *formats]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"
