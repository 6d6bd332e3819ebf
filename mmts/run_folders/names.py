"""The names of the files in the folder of a run or of a study."""

CONFIG, HISTORY, STUDY = "config.yaml", "history.jsonl", "study.yaml"

BEST, LAST = "best.mmts", "last.mmts"
"""The checkpoint of the best epoch, and that of the last one."""
