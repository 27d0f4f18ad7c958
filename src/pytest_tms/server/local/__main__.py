"""``python -m pytest_tms.server.local --session PID`` prints ``{"url": …, "token": …}`` on one line."""

from __future__ import annotations

import argparse
import json
import sys

import filelock

from pytest_tms.server.local.launcher import data_dir, find_or_start


def main() -> int:
    """Find or start the local server and print its URL and token as JSON.

    Return the exit status: 1 if there is no server, with the reason as the last line on stderr.
    """
    parser = argparse.ArgumentParser(prog="python -m pytest_tms.server.local")
    parser.add_argument("--session", type=int, required=True, help="id of the process that uses the server")
    session = parser.parse_args().session
    try:
        print(json.dumps(find_or_start(data_dir(), session)))
    except ModuleNotFoundError:
        print(
            'it is not installed: pip install "pytest-tms[server]", or pipx install "pytest-tms[server]"',
            file=sys.stderr,
        )
        return 1
    except (OSError, RuntimeError, filelock.Timeout) as error:
        print(str(error), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
