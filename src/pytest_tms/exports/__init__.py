"""Writers of reports: an execution and its tests as JUnit XML, JSON, CSV, CTRF, Markdown and HTML.

Each takes an ``ExecutionStatus`` and the tests as GET /executions/{id}/tests returns them, and yields bytes.
Memory holds one test at a time; the HTML and Markdown writers also hold the lines of a bounded number of
tests. The tests may have any JSON value in any field: nothing in them makes a writer raise.
"""

from pytest_tms.exports.csv import write_csv
from pytest_tms.exports.ctrf import write_ctrf
from pytest_tms.exports.html import write_html
from pytest_tms.exports.json import write_json
from pytest_tms.exports.junit import write_junit_xml
from pytest_tms.exports.markdown import write_markdown

__all__ = ["write_csv", "write_ctrf", "write_html", "write_json", "write_junit_xml", "write_markdown"]
