"""What tests of a broken MLflow are held against."""

from __future__ import annotations

import pytest

from tests.tracking.faulty_world import Trained, look_at, train_in


@pytest.fixture(scope="module")
def untracked(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Return what the training of these tests comes to without any tracking."""
    return look_at(train_in(tmp_path_factory.mktemp("untracked"), {"enabled": False}))
