"""``--tms-offline [DIR]``: the folder is optional, so what follows the option may be meant otherwise."""

from __future__ import annotations

from itertools import pairwise

import pytest

from pytest_tms.plugin.settings import OFFLINE


def give_back_tests(config: pytest.Config) -> None:
    """``pytest --tms-offline tests`` means the tests in ``tests``, not a folder to write to.

    The parser takes whatever follows for the folder. What is a test path goes back to the arguments: a
    file, or a folder with Python files and no journals.
    """
    given = _word(config)
    path = config.invocation_params.dir / given.partition("::")[0]
    if not given or not path.exists():
        return
    if path.is_file() or (any(path.rglob("*.py")) and not any(path.glob("*.jsonl"))):
        config.option.tms_offline = OFFLINE
        explicit = config.args_source is pytest.Config.ArgsSource.ARGS
        config.args[:] = [given, *config.args] if explicit else [given]


def misled(config: pytest.Config) -> str:
    """What to write instead, where the folder kept pytest from finding its settings; else an empty text.

    pytest looks for them before it knows this option, and takes a folder that exists for a test path.
    """
    given, here = _word(config), config.invocation_params.dir
    path = here / given
    if not given or config.getoption("inifilename") or not path.exists() or path.is_relative_to(here):
        return ""
    return f"pytest took {given} for a test path when it looked for its settings: write --tms-offline={given}"


def _word(config: pytest.Config) -> str:
    """The folder, where it is a word of its own behind the option."""
    given = str(config.getoption("tms_offline") or "")
    words = [str(word) for word in config.invocation_params.args]
    return given if ("--tms-offline", given) in pairwise(words) else ""
