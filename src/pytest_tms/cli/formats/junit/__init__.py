"""JUnit XML, as test runners and converters write it, read as results.

``report`` is the reader. It turns the events of ``parser`` into ``elements``, and each complete ``testcase``
into a result: ``titles``, ``outcomes`` and ``results`` do that. ``dialects`` has peculiarities of runners.
"""

from pytest_tms.cli.formats.junit.report import JUnitReport

__all__ = ["JUnitReport"]
