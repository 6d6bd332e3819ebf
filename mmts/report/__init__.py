"""One evaluation as a page that can be sent to somebody: a single HTML file."""

from mmts.report.page import DATA, EVALUATION, GRAPH, LEARNING, REPORT, write_report

__all__ = ["DATA", "EVALUATION", "GRAPH", "LEARNING", "REPORT", "write_report"]
