"""``--tms-offline [DIR]``: the folder is optional, so the next argument may be a path of tests."""

from __future__ import annotations

from itertools import pairwise

import pytest

from pytest_tms.settings.table import OFFLINE


def restore_test_path(config: pytest.Config) -> None:
    """Restore the test path in ``pytest --tms-offline tests``, which the parser treats as the folder.

    A test path is a file, or a folder with Python files and without journals.
    """
    folder = _separate_folder(config)
    path = config.invocation_params.dir / folder.partition("::")[0]
    if not folder or not path.exists():
        return
    if path.is_file() or (any(path.rglob("*.py")) and not any(path.glob("*.jsonl"))):
        config.option.tms_offline = OFFLINE
        explicit = config.args_source is pytest.Config.ArgsSource.ARGS
        config.args[:] = [folder, *config.args] if explicit else [folder]


def misread_folder(config: pytest.Config) -> str:
    """Return a correction if the folder prevented pytest from finding its settings; else an empty text.

    pytest looks for its settings before it knows this option, and treats an existing folder as a test path.
    """
    folder, here = _separate_folder(config), config.invocation_params.dir
    path = here / folder
    if not folder or config.getoption("inifilename") or not path.exists() or path.is_relative_to(here):
        return ""
    return (
        f"pytest took {folder} for a test path when it looked for its settings: write --tms-offline={folder}"
    )


def _separate_folder(config: pytest.Config) -> str:
    """Return the folder if it is an argument of its own after the option; else an empty text."""
    folder = str(config.getoption("tms_offline") or "")
    arguments = [str(word) for word in config.invocation_params.args]
    return folder if ("--tms-offline", folder) in pairwise(arguments) else ""
