"""Writing tables as CSV files."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pandas as pd

from mmts.files import write_whole

_FORMULA = re.compile(r"[=@\t\r]|[+\-](?![\d.,]+$)")

logger = logging.getLogger(__name__)


def write_table(path: str | Path, table: pd.DataFrame) -> None:
    """Write a table, whole or not at all; raises OutputError.

    Names of items and columns stay as they came, so that they can be found again. Of those that a
    spreadsheet would run as a formula (https://owasp.org/www-community/attacks/CSV_Injection) a
    warning tells.
    """
    for name in table:
        if pd.api.types.is_object_dtype(table[name]) or pd.api.types.is_string_dtype(table[name]):
            words = [str(word) for word in table[name].unique()]
            formulas = [word for word in words if _FORMULA.match(word)]
            if formulas:
                logger.warning(
                    "%s: %r%s in column %r begins as a formula does, which a spreadsheet may run. "
                    "Let it import that column as text.",
                    path, formulas[0][:80],
                    f" (and {len(formulas) - 1} more)" if len(formulas) > 1 else "", name,
                )  # fmt: skip
    write_whole(path, table.to_csv(index=False))
