from pathlib import Path

import pytest

from mmts.tracking.store import locate_store


def test_without_a_uri_the_store_is_a_sqlite_file_in_the_folder_of_runs(tmp_path: Path) -> None:
    store = locate_store(None, tmp_path / "runs")
    assert store.uri == f"sqlite:///{(tmp_path / 'runs' / 'mlflow.db').as_posix()}"
    assert store.artifact_location == (tmp_path / "runs" / "mlartifacts").as_uri()
    assert store.database == tmp_path / "runs" / "mlflow.db"
    assert not store.is_server


def test_a_relative_folder_of_runs_gives_absolute_addresses() -> None:
    store = locate_store(None, Path("runs"))
    assert Path(store.uri.removeprefix("sqlite:///")).is_absolute()
    assert store.shown == str(Path("runs") / "mlflow.db")


@pytest.mark.parametrize("uri", ["sqlite://", "sqlite:///:memory:", "postgresql://db.example/x"])
def test_a_database_without_a_file_of_its_own_has_none(uri: str) -> None:
    store = locate_store(uri, Path("runs"))
    assert store.database is None
    assert not store.is_server


def test_a_server_keeps_artifacts_where_it_likes() -> None:
    store = locate_store("http://tracking.example:5000", Path("runs"))
    assert store.is_server
    assert store.database is None


@pytest.mark.parametrize(
    "uri",
    [
        "http://ann:hunter22@tracking.example:5000/mlflow",
        "http://ann:hunter22/@tracking.example:5000/mlflow",
        "http://ann:h@hunter22@tracking.example:5000/mlflow",
        "postgresql://ann:hunter22@db.example/mlflow?sslpassword=hunter22",
        "postgresql://db.example/mlflow?user=ann&password=hunter22",
        "mysql+pymysql://ann:%68unter22@[db.example/mlflow",
    ],
)
def test_no_message_gives_a_password_away(uri: str) -> None:
    store = locate_store(uri, Path("runs"))
    error = RuntimeError(f"API request to {uri} failed: {uri!r} does not answer")
    for text in (store.shown, store.explain(error), repr(store)):
        assert "unter22" not in text
        assert "example" in text


def test_a_password_without_its_uri_is_hidden_too() -> None:
    store = locate_store("postgresql://ann:hunter22@db.example/mlflow", Path("runs"))
    assert store.explain(RuntimeError("login of ann with 'hunter22' failed")) == (
        "login of ann with '***' failed"
    )


def test_an_explanation_is_one_short_line() -> None:
    store = locate_store(None, Path("runs"))
    assert store.explain(RuntimeError("locked\nand 40 lines more")) == "locked"
    assert len(store.explain(RuntimeError("x" * 5000))) == 300
    assert store.explain(TimeoutError()) == "TimeoutError"
