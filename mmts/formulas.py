"""Telling of names that a spreadsheet would run as formulas."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

_FORMULA = re.compile(r"[=@\t\r]|[+\-](?![\d.,]+$)")

logger = logging.getLogger(__name__)


def warn_of_formulas(path: str | Path, table: pd.DataFrame) -> None:
    """Say which columns of a table hold text that a spreadsheet may run.

    Names of items and columns stay as they came, so that they can be found again; whoever opens
    the file may take heed. cf. https://owasp.org/www-community/attacks/CSV_Injection
    """
    for name, cells in table.select_dtypes(exclude="number").items():
        words = [str(word) for word in cells.unique()]
        formulas = [word for word in words if _FORMULA.match(word)]
        if formulas:
            more = f" (and {len(formulas) - 1} more)" if len(formulas) > 1 else ""
            logger.warning(
                "%s: %r%s in column %r begins as a formula does, which a spreadsheet may run. "
                "Let it import that column as text.",
                path, formulas[0][:80], more, name,
            )  # fmt: skip
