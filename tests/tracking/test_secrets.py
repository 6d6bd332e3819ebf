"""No secret of the environment, an address or the command line is told, recorded or kept."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mmts.errors import ConfigError
from mmts.tracking.config import TrackingConfig
from mmts.tracking.secrets import hide_secrets, holds_secret, split_user
from tests.factories import make_settings, write_world

SECRETS = {
    "MLFLOW_TRACKING_USERNAME": "ann-of-the-grid",
    "MLFLOW_TRACKING_PASSWORD": "hunter22-in-mlflow",
    "MLFLOW_TRACKING_TOKEN": "tok-5e77a0b2c1",
    "AWS_ACCESS_KEY_ID": "AKIA0PLANTED0KEY",
    "AWS_SECRET_ACCESS_KEY": "wJalr/PLANTED+key=",
    "DATABASE_PASSWORD": "planted-db-pw",
}
IN_ADDRESS = "pw-in/address@22"


@pytest.fixture(autouse=True)
def planted(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    "text",
    [
        f"API request to http://ann:{IN_ADDRESS}@host:5000/api failed",
        f"mmts train a.yaml --set tracking.uri=http://ann:{IN_ADDRESS}@host",
        "http://host:5000/?access_token=planted-query&x=1",
        "postgresql://db/x?user=ann&password=planted-query",
        "login with hunter22-in-mlflow failed",
        "https://host/wJalr%2FPLANTED%2Bkey%3D/object",
        "'AKIA0PLANTED0KEY' and 'wJalr/PLANTED+key='",
    ],
)
def test_a_text_keeps_its_words_and_loses_its_secrets(text: str) -> None:
    told = hide_secrets(text)
    for secret in (*SECRETS.values(), IN_ADDRESS, "planted-query", "PLANTED"):
        assert secret not in told
    assert len(told) > 10


@pytest.mark.parametrize(
    "text", ["a@b.example wrote", "batch_size=32 & more", "sqlite:///runs/mlflow.db", "key=value"]
)
def test_a_text_without_secrets_stays_as_it_is(text: str) -> None:
    assert hide_secrets(text) == text


@pytest.mark.parametrize(
    "uri",
    [
        "http://ann:pw@host",
        "http://ann:p/w@host",
        "http://token@host",
        "postgresql://db/x?password=pw",
        "postgresql://db/x?sslpassword=pw",
        "https://host/?api_key=1",
    ],
)
def test_an_address_that_holds_a_secret_is_refused_by_the_config(uri: str) -> None:
    assert holds_secret(uri)
    with pytest.raises(ValueError, match="written into every checkpoint"):
        TrackingConfig(uri=uri)


def test_an_at_sign_in_the_path_of_a_database_is_no_secret() -> None:
    assert TrackingConfig(uri="sqlite:////data/@home/mlflow.db").uri is not None


def test_user_and_password_are_taken_out_of_an_address() -> None:
    assert split_user("http://ann:p%40w@host:1/x") == ("http://host:1/x", "ann", "p@w")
    assert split_user("http://host") == ("http://host", None, None)


def test_a_fault_of_the_config_does_not_tell_the_password(tmp_path: Path) -> None:
    from mmts.config import load_config

    config = write_world(tmp_path, make_settings())
    for override in (
        "tracking.uri=http://ann:hunter22@host",
        "tracking.urj=http://ann:hunter22@host",
        "tracking.enabled=http://ann:hunter22@host",
    ):
        with pytest.raises(ConfigError) as caught:
            load_config(config, [override])
        assert "hunter22" not in str(caught.value)


def run(*words: object, cwd: Path, **more: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "mmts.pipelines.main", *map(str, words)],
        cwd=cwd, env={**os.environ, "OMP_NUM_THREADS": "1", **more}, capture_output=True,
        timeout=300, check=False,
    )  # fmt: skip


def places_of(folder: Path, secret: str) -> list[str]:
    return [
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and secret.encode() in path.read_bytes()
    ]


@pytest.mark.slow
@pytest.mark.parametrize("has_store", [True, False], ids=["store there", "server away"])
def test_no_byte_that_the_commands_leave_or_say_holds_a_secret(
    has_store: bool, tmp_path: Path
) -> None:
    config = write_world(tmp_path / "world", make_settings() | {"tracking": {}})
    # As `mlflow run` tells where its run is; a word of the command line holds a secret too.
    address = f"http://ann:{IN_ADDRESS}@127.0.0.1:9"
    away = {} if has_store else {"MLFLOW_TRACKING_URI": address, "MLFLOW_RUN_ID": "0" * 32}
    note = f"tracking.tags={json.dumps({'note': 'of ' + SECRETS['DATABASE_PASSWORD']})}"
    overrides = [] if has_store else ["--set", "training.max_epochs=1"]
    commands = [
        ("train", config, "--run-dir", "runs/" + SECRETS["MLFLOW_TRACKING_TOKEN"][:3], *overrides),
        ("evaluate", "runs/tok/best.mmts"),
        ("runs", "list", "--json"),
        ("runs", "sync"),
        ("evaluate", "runs/tok/best.mmts", "--uri", address),
        ("train", config, "--set", f"tracking.uri={address}"),
        ("train", config, "--set", note + "}"),
        ("register", "runs/tok/best.mmts", "small", "--uri", address),
    ]
    for command in commands:
        done = run(*command, cwd=tmp_path, **away)
        assert b"Traceback" not in done.stderr, done.stderr.decode()
        for secret in (*SECRETS.values(), IN_ADDRESS):
            assert secret.encode() not in done.stdout + done.stderr, (command, secret)
    assert (tmp_path / "runs" / "tok" / "evaluation" / "report.html").is_file()
    assert (tmp_path / "runs" / "mlflow.db").exists() == has_store
    for secret in (*SECRETS.values(), IN_ADDRESS):
        assert places_of(tmp_path, secret) == []


@pytest.mark.slow
def test_a_secret_on_the_command_line_is_not_recorded(tmp_path: Path) -> None:
    config = write_world(tmp_path / "world", make_settings() | {"tracking": {}})
    secret = SECRETS["DATABASE_PASSWORD"]
    moved = tmp_path / f"{secret}.yaml"
    moved.write_text(config.read_text().replace("small-world", "other"))
    root = f"data.root={tmp_path / 'world'}"
    done = run("train", moved, "--set", root, "--run-dir", "runs/one", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert b"***.yaml" in (tmp_path / "runs/one/tracking/records.jsonl").read_bytes()
    assert places_of(tmp_path / "runs", secret) == []
