"""Errors in what the user gave."""

from __future__ import annotations

import pytest

from mmts.errors import DataError, raise_all


def test_what_two_streams_of_one_file_have_to_say_is_said_once() -> None:
    with pytest.raises(DataError) as error:
        raise_all(DataError, ["a.csv: no such file.", "b.csv: empty.", "a.csv: no such file."])
    assert str(error.value) == "a.csv: no such file.\nb.csv: empty."
