"""The reports that the arguments of `tms submit` name: files, patterns, folders and standard input."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from glob import glob, has_magic
from pathlib import Path

from pytest_tms.cli.formats import Report, Unreadable, read_report, reason
from pytest_tms.cli.formats.allure import CONTAINER, RESULT, AllureReport
from pytest_tms.cli.formats.node_ids import NodeIds
from pytest_tms.cli.formats.report_file import ReportFile

SUFFIXES = (".xml", ".json", ".jsonl", ".xml.gz", ".json.gz", ".jsonl.gz")
"""Ends of the names of reports in a folder."""


def find_files(arguments: Sequence[Path]) -> list[Path]:
    """Return the paths that the arguments name; a pattern that is not a path is replaced by its matches."""
    found: list[Path] = []
    for argument in arguments:
        if _exists(argument) or not has_magic(str(argument)):
            found.append(argument)
        else:
            matches = sorted(glob(str(argument), recursive=True))  # noqa: PTH207  # absolute patterns, too
            found += map(Path, matches) if matches else [argument]
    return found


def exists(path: Path) -> bool:
    """Return whether there may be a report: standard input, or anything at ``path``."""
    return str(path) == "-" or _exists(path)


def read_reports(paths: Sequence[Path], node_ids: NodeIds) -> Iterator[tuple[str, Report]]:
    """Yield each report with its name. Allure's results of one folder are one report.

    Of a folder without Allure's results, the reports in it and below it are read. Other files beside Allure's
    results are attachments and settings of Allure, and are left out.
    """
    allure: dict[Path, list[Path]] = {}
    for path in paths:
        if path.name.endswith((RESULT, CONTAINER)):
            allure.setdefault(path.parent, []).append(path)
    for path in paths:
        if str(path) != "-" and _is_folder(path):
            yield from _read_folder(path, node_ids)
        elif path.parent not in allure or str(path) == "-":
            source = ReportFile(None if str(path) == "-" else path)
            yield source.name, read_report(source, node_ids)
        elif path.name.endswith((RESULT, CONTAINER)) and (files := allure[path.parent]):
            name = str(path) if len(files) == 1 else str(path.parent)
            yield name, AllureReport([ReportFile(file) for file in files], node_ids)
            allure[path.parent] = []


def _read_folder(folder: Path, node_ids: NodeIds) -> Iterator[tuple[str, Report]]:
    try:
        files = sorted(path for path in folder.iterdir() if path.name.endswith((RESULT, CONTAINER)))
        if files:
            yield str(folder), AllureReport(list(map(ReportFile, files)), node_ids, is_whole_folder=True)
            return
        found = sorted(
            path
            for path in folder.rglob("*")
            if path.name.lower().endswith(SUFFIXES) and not path.name.startswith(".") and path.is_file()
        )
    except OSError as error:
        yield str(folder), Unreadable(f"{folder}: {reason(error)}")
        return
    if not found:
        yield str(folder), Unreadable(f"{folder} holds no report: name a folder with reports, or a file")
    allure = {path.parent for path in found if path.name.endswith((RESULT, CONTAINER))}
    for path in found:
        if path.parent not in allure:
            yield str(path), read_report(ReportFile(path), node_ids)
    for below in sorted(allure):
        yield from _read_folder(below, node_ids)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # reported when the file is read
        return True


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False
