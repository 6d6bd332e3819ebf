"""Config files as they come, from anybody: read, or refused in words."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmts.config import load_config
from mmts.config_yaml import LONGEST, parse_yaml, read_yaml
from mmts.errors import ConfigError
from tests.conftest import Command


def bomb(link: str) -> str:
    """Write nine groups of which each holds nine times the one before it."""
    lines = ["a: &a lol"]
    for before, name in zip("abcdefgh", "bcdefghi", strict=True):
        lines.append(f"{name}: &{name} {link % ', '.join([f'*{before}'] * 9)}")
    return "\n".join(lines)


REFUSED = {
    "a tag that runs code": ("a: !!python/object/apply:os.system ['true']", "line 1: the tag"),
    "a tag of one's own": ("a: !own b", "line 1: the tag !own"),
    "a tag that YAML knows": ("a: !!bool maybe", "line 1: the tag"),
    "deep lists": ("a: " + "[" * 5_000, "deep in one another"),
    "deep groups": ("{a: " * 5000, "deep in one another"),
    "deep lines": ("\n".join(" " * depth + "a:" for depth in range(1000)), "deep in one another"),
    "a bomb of aliases": (bomb("[%s]"), "aliases come to more than"),
    "a bomb of merges": (bomb("{<<: [%s]}"), "aliases come to more than"),
    "an alias in itself": ("a: &a [*a]", "stands inside of what it names"),
    "a group in itself": ("a: &a {b: *a}", "stands inside of what it names"),
    "an alias of nothing": ("a: *b", "undefined alias"),
    "no month": ("a: 1\nb: 2024-13-45", "line 2: '2024-13-45' is no time"),
    "no hour": ("a: 2024-01-01T25:00:00", "is no time"),
    "a NUL byte": ("a: \0", "special characters"),
    "a written NUL": ('a: "b\\0"', "line 1: 'b\\\\x00' holds a letter"),
    "half a letter": ('a: "\\ud800"', "line 1: .* holds a letter"),
    "no letter": ('a: "\\U00110000"', "not well-formed"),
    "far from a letter": ('a: "\\UFFFFFFFF"', "not well-formed"),
    "a tab": ("a:\n\tb: 1", "line 2"),
    "a key twice": ("a: 1\na: 2", "stands in line 1 already"),
    "a group as a key": ("{a: 1}: 2", "a key must be a word"),
    "two documents": ("a: 1\n---\nb: 2", "another document"),
    "a YAML of the future": ("%YAML 9.9\n---\na: 1", "incompatible"),
    "too long": ("a: " + "b" * LONGEST, "longer than 1,048,576 bytes"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_no_config_holds_is_refused_in_words(tmp_path: Path, name: str) -> None:
    text, words = REFUSED[name]
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=words) as caught:
        read_yaml(path)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "latin-1", "cp1252"])
def test_another_encoding_is_told(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes("name: é".encode(encoding))
    with pytest.raises(ConfigError, match=r"is not UTF-8|not well-formed"):
        read_yaml(path)


def test_a_byte_order_mark_and_windows_lines_are_read(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(b"\xef\xbb\xbfa: 1\r\nb: x\r\n")
    assert read_yaml(path) == {"a": 1, "b": "x"}


def test_a_device_without_end_is_refused() -> None:
    with pytest.raises(ConfigError, match="longer than"):
        read_yaml(Path("/dev/zero"))


@pytest.mark.parametrize("word", ["12:30", "1:2:3", "0x1f", "0b1", "1_000", "=", "<<", "0o17"])
def test_what_older_yaml_takes_for_numbers_is_a_word(word: str) -> None:
    assert parse_yaml(f"a: {word}", "x") == {"a": word}


@pytest.mark.parametrize(("word", "number"), [("017", 17), ("-5", -5), ("+3", 3), ("1e400", 1e400)])
def test_plain_numbers_are_decimal(word: str, number: float) -> None:
    assert parse_yaml(f"a: {word}", "x") == {"a": number}


def test_an_alias_saves_writing(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("a: &small {kind: conv}\nb: *small\n")
    assert read_yaml(path) == {"a": {"kind": "conv"}, "b": {"kind": "conv"}}


def test_a_message_never_fills_pages_with_a_value(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(f"name: a\nseed: {'x' * 20_000}\ndata: [{'y, ' * 2_000}]\n")
    with pytest.raises(ConfigError, match="seed: 'xxx") as caught:
        load_config(path)
    assert len(str(caught.value)) < 3000


def test_numbers_beyond_all_bounds_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    data = "{horizon: 6h, streams: {load: {path: a.csv, time: t, target: [x]}}}"
    for training in ("max_epochs: " + "9" * 5000, "learning_rate: 1e400", "max_epochs: 1e400"):
        path.write_text(f"name: a\ndata: {data}\ntraining: {{{training}}}\n")
        with pytest.raises(ConfigError, match=r"training\.\w+: .* will not do"):
            load_config(path)


def test_a_model_without_end_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    streams = "{load: {path: a.csv, time: t, target: [x]}, sun: {path: b.csv, time: t}}"
    head = f"name: a\ndata: {{horizon: 6h, streams: {streams}}}\nmodel:\n"
    path.write_text(head + "  encoders: {load: {kind: conv, num_layers: 1000000}}\n")
    with pytest.raises(ConfigError, match="1000000 layers together"):
        load_config(path)
    deep = "{kind: conv, num_layers: 2000}"
    path.write_text(
        head + f"  encoders: {{load: {deep}, sun: {deep}}}\n  interactions: [{{preset: dense}}]\n"
    )
    with pytest.raises(ConfigError, match="would read more than 20,000 nodes"):
        load_config(path)


def test_the_command_says_so_without_a_traceback(mmts: Command, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(bomb("[%s]"))
    done = mmts("train", path)
    assert done.returncode == 2
    assert "aliases come to more than" in done.stderr
    assert "Traceback" not in done.stderr
