"""Generate a client in another language from the OpenAPI document: `make sdk LANGUAGE=go`.

OpenAPI Generator (https://openapi-generator.tech) writes the code; it needs Java 11. Nothing of it is part of
the repository.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import requests

from pytest_tms import wire
from pytest_tms.server.api.openapi import document


class Target(NamedTuple):
    """A language: its name in OpenAPI Generator, and options."""

    generator: str
    options: dict[str, str]


TARGETS = {
    "typescript": Target("typescript-fetch", {"npmName": "tms-client", "importFileExtension": ".js"}),
    "java": Target(
        "java",
        {
            "library": "native",
            "invokerPackage": "tms.client",
            "apiPackage": "tms.client.api",
            "modelPackage": "tms.client.model",
            "groupId": "tms",
            "artifactId": "tms-client",
            "openApiNullable": "false",
        },
    ),
    "csharp": Target("csharp", {"library": "httpclient", "packageName": "Tms.Client"}),
    "go": Target("go", {"packageName": "tmsclient", "enumClassPrefix": "true"}),
    "ruby": Target("ruby", {"gemName": "tms_client", "moduleName": "TmsClient"}),
    "php": Target("php", {"invokerPackage": "TmsClient", "composerPackageName": "tms/client"}),
    "python": Target("python", {"packageName": "tms_client", "projectName": "tms-client"}),
}
ALIASES = {"javascript": "typescript"}
"""The TypeScript client has a package.json whose `npm run build` compiles it to JavaScript."""
ACCEPT_NEW_FIELDS = {"disallowAdditionalPropertiesIfNotPresent": "false"}
"""A later server may send fields that this document does not have."""


def generate(language: str, api: dict[str, Any], output: Path, generator: Path) -> None:
    """Write the client of a language into a folder.

    Args:
        language: A key of ``TARGETS`` or ``ALIASES``.
        api: The OpenAPI document. Its ``webhooks`` are left out: the generator would make calls of them, but
            a client never sends them. Their payloads are models of the client.
        output: The folder, which is created.
        generator: The command ``openapi-generator-cli``.

    Raises:
        RuntimeError: The generator failed; the message is its output.
    """
    output.mkdir(parents=True, exist_ok=True)
    source = output / "openapi.json"
    source.write_text(json.dumps({**api, "webhooks": {}}), encoding="utf-8")
    target = TARGETS[ALIASES.get(language, language)]
    options = ",".join(f"{name}={value}" for name, value in {**target.options, **ACCEPT_NEW_FIELDS}.items())
    command: list[str | Path] = [generator, "generate", "-i", source, "-g", target.generator, "-o", output]
    command += ["--additional-properties", options, "--global-property", "apiTests=false,modelTests=false"]
    command += ["--git-user-id", "pytest-tms", "--git-repo-id", "tms-client"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  # our own command
    if ended.returncode:
        raise RuntimeError(
            f"openapi-generator-cli ended with status {ended.returncode}:\n{ended.stdout}{ended.stderr}"
        )


def read(url: str | None) -> dict[str, Any]:
    """Return the document of a server, or that of a server with default settings."""
    if url is None:
        return document(wire.SUITES, wire.ENVIRONMENTS)
    response = requests.get(url, timeout=30)
    response.raise_for_status()
    found: dict[str, Any] = response.json()
    return found


def main() -> None:
    """Parse the command line and generate the client."""
    parser = argparse.ArgumentParser(prog="make sdk", description=__doc__)
    parser.add_argument("language", choices=sorted({*TARGETS, *ALIASES}), help="the language of the client")
    parser.add_argument(
        "--url", help="the document of your server, such as https://tms.example.com/api/openapi.json"
    )
    parser.add_argument("--output", type=Path, help="the folder of the client (default: sdk/LANGUAGE)")
    arguments = parser.parse_args()
    output: Path = arguments.output or Path("sdk") / arguments.language
    generator = Path(sys.executable).with_name("openapi-generator-cli")
    if not generator.exists():
        parser.exit(
            1, "openapi-generator-cli is not installed: use `make sdk LANGUAGE=…`, which installs it.\n"
        )
    if shutil.which("java") is None:
        parser.exit(1, "Java is not installed: OpenAPI Generator needs Java 11 or later.\n")
    try:
        generate(arguments.language, read(arguments.url), output, generator)
    except (RuntimeError, requests.RequestException) as error:
        parser.exit(1, f"{error}\n")
    print(f"The client is in {output}.")


if __name__ == "__main__":
    main()
