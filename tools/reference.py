"""Write the parts of the documentation that are made from the code (`make reference`).

Each page has a mark, `<!-- made by tools/reference.py -->`; what follows it is replaced, up to the next mark
`<!-- end -->` or the end of the page. `tests/integration/test_docs.py` fails if a page differs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import click

from pytest_tms import errors, wire
from pytest_tms.cli import tms
from pytest_tms.client import calls
from pytest_tms.server.api.openapi import document

DOCS = Path(__file__).parents[1] / "docs"
MARK = "<!-- made by tools/reference.py -->\n"
END = "<!-- end -->\n"


def endpoints() -> Iterator[str]:
    """Yield the lines about every call of the API, by the tags of the OpenAPI document."""
    described = document(wire.SUITES, wire.ENVIRONMENTS)
    by_name = {call.name: call for call in calls.ALL}
    operations = [
        (method.upper(), path, operation)
        for path, methods in described["paths"].items()
        for method, operation in methods.items()
    ]
    for tag in described["tags"]:
        chosen = [each for each in operations if tag["name"] in each[2]["tags"]]
        if not chosen:
            continue
        yield from (f"## {tag['name']}", "", tag["description"], "")
        for method, path, operation in chosen:
            call = by_name[operation["operationId"]]
            yield from (
                f"### {operation['summary']}",
                "",
                f"`{method} {path}`",
                "",
                operation["description"],
                "",
            )
            scope = f"Scope: `{call.scope}`." if call.scope else "Needs no API token."
            limit = (
                f" Counts towards the [rate limit](limits.md#rate-limits) `{call.limit}`."
                if call.limit and method not in ("GET", "HEAD")
                else ""
            )
            yield from (f"{scope}{limit}", "")
            yield from _parameters(operation["parameters"])
            if body := operation.get("requestBody"):
                yield from _content("Request", body["content"])
            successes = {status: each for status, each in operation["responses"].items() if int(status) < 400}
            for content in _distinct(each["content"] for each in successes.values()):
                statuses = " or ".join(
                    status for status, each in successes.items() if each["content"] == content
                )
                yield from _content(f"Response {statuses}", content)
            codes = [
                f"{error.status} `{error.code}`"
                for error in sorted(call.errors, key=lambda each: each.status)
            ]
            yield from (f"[Errors](errors.md): {', '.join(codes)}", "")


def _distinct(values: Iterable[Any]) -> list[Any]:
    found: list[Any] = []
    for value in values:
        if value not in found:
            found.append(value)
    return found


def _parameters(parameters: list[dict[str, Any]]) -> Iterator[str]:
    if not parameters:
        return
    yield from ("| parameter | in | value |", "| --- | --- | --- |")
    for each in parameters:
        required = "; required" if each.get("required") and each["in"] == "query" else ""
        yield f"| `{each['name']}` | {each['in']} | {_cell(each['description'])}{required} |"
    yield ""


def _content(title: str, content: dict[str, Any]) -> Iterator[str]:
    for kind, each in content.items():
        if "example" in each:
            yield from (f"{title}:", "", "```json", *_json(each["example"]), "```", "")
        else:
            yield from (f"{title}: `{kind}`", "")


def _json(value: Any, indent: str = "") -> Iterator[str]:
    """Yield JSON in lines of at most 100 characters where that is possible."""
    whole = json.dumps(value, ensure_ascii=False)
    if not isinstance(value, (dict, list)) or not value or len(indent) + len(whole) <= 100:
        yield f"{indent}{whole}"
        return
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    yield f"{indent}{'{' if isinstance(value, dict) else '['}"
    for number, (name, each) in enumerate(pairs):
        lines = list(_json(each, f"{indent}  "))
        if isinstance(value, dict):
            lines[0] = f"{indent}  {json.dumps(name)}: {lines[0].lstrip()}"
        if number < len(value) - 1:
            lines[-1] += ","
        yield from lines
    yield f"{indent}{'}' if isinstance(value, dict) else ']'}"


def commands() -> Iterator[str]:
    """Yield the lines about every command with its arguments and options, as click has them."""
    yield from _group(tms, click.Context(tms, info_name="tms"))


def _group(group: click.Group, context: click.Context) -> Iterator[str]:
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None, name
        if command.hidden:
            continue
        own = click.Context(command, info_name=name, parent=context)
        if isinstance(command, click.Group):
            yield from _group(command, own)
            continue
        usage = " ".join([own.command_path, *command.collect_usage_pieces(own)])
        yield from (f"## `{own.command_path}`", "", "```", usage, "```", "")
        help_text = (command.help or "").replace("\b\n", "").strip()  # a mark of click
        for paragraph in re.split(r"\n\s*\n", help_text):
            yield from (re.sub(r"\s+", " ", paragraph).strip(), "")
        options = [each for each in command.params if isinstance(each, click.Option) and not each.hidden]
        if options:
            yield from ("| option | effect |", "| --- | --- |")
            for option in options:
                record = option.get_help_record(own)
                assert record is not None, option.name
                yield f"| `{_cell(record[0])}` | {_cell(record[1])} |"
            yield ""


def error_codes() -> Iterator[str]:
    """Yield the table of the errors that responses have."""
    yield from (
        "| code | status | message unless the response has its own | exception of the SDK |",
        "| --- | --- | --- | --- |",
    )
    kinds = [
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.ApiError) and kind is not errors.ApiError
    ]
    for kind in sorted(kinds, key=lambda kind: (kind.status, kind.__name__)):
        meaning = (kind.__doc__ or "").partition("\n")[0]
        yield f"| `{kind.code}` | {kind.status} | {_cell(meaning)} | `{kind.__name__}` |"


def _cell(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("|", "\\|").strip()


PAGES: dict[str, Callable[[], Iterator[str]]] = {
    "endpoints.md": endpoints,
    "commands.md": commands,
    "errors.md": error_codes,
}
"""The pages with a part that is made from the code, and what makes it."""


def page(name: str) -> str:
    """Return the text of a page with the part that is made from the code.

    Raises:
        ValueError: the page has not exactly one mark.
    """
    text = (DOCS / name).read_text(encoding="utf-8")
    if text.count(MARK) != 1:
        raise ValueError(f"docs/{name} must have the line {MARK.strip()!r} once")
    before, _, after = text.partition(MARK)
    rest = after.partition(END)[2]
    made = "\n".join(PAGES[name]()).rstrip("\n") + "\n"
    return f"{before}{MARK}\n{made}" + (f"\n{END}{rest}" if rest else "")


def main() -> None:
    """Write all pages."""
    for name in PAGES:
        (DOCS / name).write_text(page(name), encoding="utf-8")


if __name__ == "__main__":
    main()
