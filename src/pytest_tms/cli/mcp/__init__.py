"""The command `tms mcp`: a server of the Model Context Protocol (MCP), by which agents read the TMS."""

from __future__ import annotations

import click

from pytest_tms.cli.options import connect, url_option


@click.command()
@url_option
def mcp(url: str) -> None:
    """Serve the results of a TMS to agents, by the Model Context Protocol.

    An MCP client starts this command and talks to it by standard input and output. The tools only read: runs,
    failures by cause, results with their tracebacks and files, the history of tests, and comparisons. The
    token is read from TMS_API_TOKEN or TMS_API_TOKEN_FILE; the scope executions:read is enough.
    """
    try:
        from pytest_tms.cli.mcp.server import serve
    except ImportError as error:
        if (error.name or "").partition(".")[0] not in ("mcp", "mcp_types", "pydantic"):
            raise
        raise click.ClickException(
            'this command needs the MCP SDK, version 2 or later: run pip install "pytest-tms[mcp]"'
        ) from None
    with connect(url):  # a missing token is an error now, not in the first call of an agent
        pass
    serve(url)
