"""Writers of reports: an execution and its tests as JUnit XML, JSON, CSV, CTRF, Markdown and HTML.

Each takes an ``ExecutionStatus`` and the tests as GET /executions/{id}/tests returns them, and yields bytes.
Memory holds one test at a time; the Markdown writer also holds the lines of a bounded number of tests. The
tests may have any JSON value in any field: nothing in them makes a writer raise.

Import the module of a format, so that no other one is loaded.
"""
