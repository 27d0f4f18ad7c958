"""The job summary and annotations of a session in GitHub Actions. Their errors do not affect the session."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from pytest_tms.journal.lines import ShardEnded
from pytest_tms.plugin.hook_errors import HookErrors
from pytest_tms.plugin.session.summary import Summary
from pytest_tms.settings.table import Settings

if TYPE_CHECKING:
    from pytest_tms.plugin.github_actions import GitHubActions


class JobSummary:
    """Reports a session to GitHub Actions; does nothing if ``github`` is None."""

    def __init__(self, github: GitHubActions | None, settings: Settings, errors: HookErrors) -> None:
        self._github = github
        self._settings = settings
        self._errors = errors

    def read_failures(self, ends: Sequence[ShardEnded], lines: Callable[[], Iterable[bytes]]) -> None:
        """Keep the failed tests of a journal, before it is delivered and deleted.

        ``ends`` are the ends of its shards, ``lines`` returns its lines.
        """
        if self._github is None or not any(end.results.failed or end.results.flaky for end in ends):
            return
        try:
            self._github.read_failures(lines())
        except Exception as error:  # a defect here must not prevent the delivery
            self._errors.record("the job summary", error)

    def write(self, summary: Summary) -> None:
        """Append the session to the job summary."""
        if self._github is None:
            return
        settings = self._settings
        try:
            problem = self._github.write_summary(
                summary, suite=settings.suite, environment=settings.environment
            )
        except Exception as error:
            self._errors.record("the job summary", error)
        else:
            self._errors.extend([problem] if problem else [])

    def annotations(self) -> list[str]:
        """Return the workflow commands that annotate failed tests."""
        return [] if self._github is None else self._github.annotations()
