"""The API token of the CI job that this process belongs to."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pytest_tms.ci.id_tokens import find_id_token
from pytest_tms.client.job_token import JobToken


def find_job_token(
    base_url: str,
    environ: Mapping[str, str],
    *,
    on_issued: Callable[[str], object] = lambda _: None,
    retries: int = 2,
) -> JobToken | None:
    """Return the API token that the job with this environment can get; None if it has no ID token.

    The parameters are those of ``JobToken``.
    """
    source = find_id_token(environ)
    if source is None:
        return None
    return JobToken(base_url, source.fetch, name=source.name, on_issued=on_issued, retries=retries)
