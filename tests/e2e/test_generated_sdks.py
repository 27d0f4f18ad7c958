"""Clients that `make sdk` generates in other languages drive an execution of the real server.

A language whose compiler or interpreter is missing is skipped, and the reason names the package of Debian that has it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.test_generated_clients import SEEN, ran
from tests.helpers import environments, npm
from tests.helpers.api import Api, expect_success
from tools import sdk

DRIVERS = Path(__file__).parent / "generated_clients" / "sdk"
JAVA_LIBRARIES = Path("/usr/share/java")
PHP_LIBRARIES = Path("/usr/share/php")
AUTOLOAD = """<?php
require 'GuzzleHttp/autoload.php';
spl_autoload_register(function ($class) {
    $file = __DIR__ . '/client/lib/' . strtr(substr($class, strlen('TmsClient')), '\\\\', '/') . '.php';
    if (str_starts_with($class, 'TmsClient\\\\') && is_file($file)) {
        require $file;
    }
});
"""
GO_MODULE = """module drive
go 1.18
require github.com/pytest-tms/tms-client v0.0.0
replace github.com/pytest-tms/tms-client => ./client
"""
PARSE_CSHARP = """
import pathlib, sys, tree_sitter, tree_sitter_c_sharp
parser = tree_sitter.Parser(tree_sitter.Language(tree_sitter_c_sharp.language()))
files = list(pathlib.Path(sys.argv[1]).rglob("*.cs"))
assert [file for file in files if parser.parse(file.read_bytes()).root_node.has_error] == []
print(len(files))
"""

pytestmark = [pytest.mark.nightly, pytest.mark.plugins]
Generate = Callable[[str], Path]


@pytest.fixture
def api(sqlite_api: Api) -> Any:
    yield sqlite_api
    sqlite_api.delete_webhooks()


@pytest.fixture
def generate(api: Api, tmp_path: Path) -> Generate:
    """Write the client of a language into the folder ``client`` of the test, beside its driver."""
    need("java", "default-jdk-headless")
    document = expect_success(api.request("GET", "/openapi.json"), 200)

    def make(language: str) -> Path:
        client = tmp_path / "client"
        generator = Path(environments.python("generator")).with_name("openapi-generator-cli")
        sdk.generate(language, document, client, generator)
        return client

    return make


def need(program: str, package: str) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"{program} is missing: install Debian's {package}")


def library(path: Path, package: str) -> Path:
    if not path.exists():
        pytest.skip(f"{path} is missing: install Debian's {package}")
    return path


def saw(output: str) -> None:
    """Assert that a driver printed what it must have received."""
    seen = json.loads(output)
    assert seen.pop("webhookId").startswith("wh_")
    assert seen == {**SEEN, "refused": ["url"]}


def test_go(api: Api, generate: Generate, tmp_path: Path) -> None:
    need("go", "golang-go")
    generate("go")
    (tmp_path / "go.mod").write_text(GO_MODULE)
    shutil.copy(DRIVERS / "drive.go", tmp_path)
    for command in (("go", "vet", "."), ("go", "build", "-o", "drive", ".")):
        ran(*command, cwd=tmp_path, GOFLAGS="-mod=mod", GOPROXY="off", GOTOOLCHAIN="local")
    saw(ran(tmp_path / "drive", cwd=tmp_path, api=api))


def test_java(api: Api, generate: Generate, tmp_path: Path) -> None:
    need("javac", "default-jdk-headless")
    annotations = library(
        JAVA_LIBRARIES / "geronimo-annotation-1.3-spec.jar", "libgeronimo-annotation-1.3-spec-java"
    )
    client = generate("java")
    # The generator's own jar has the versions of Jackson that its clients need, and Debian has no jsr310 module.
    (jar,) = Path(environments.python("generator")).parents[1].glob("lib/*/site-packages/**/*.jar")
    path = f"{jar}:{annotations}:classes"
    sources = [str(each) for each in (client / "src" / "main").rglob("*.java")]
    (tmp_path / "classes").mkdir()
    compiler = ("javac", "-nowarn", "-proc:none", "-cp", path, "-d", "classes")
    ran(*compiler, *sources, DRIVERS / "Drive.java", cwd=tmp_path)
    saw(ran("java", "-cp", path, "Drive", cwd=tmp_path, api=api))


def test_ruby(api: Api, generate: Generate, tmp_path: Path) -> None:
    need("ruby", "ruby")
    client = generate("ruby")
    try:
        ran("ruby", "-e", "require 'typhoeus'", cwd=tmp_path)
    except AssertionError:
        pytest.skip("typhoeus is missing: install Debian's ruby-typhoeus")
    saw(ran("ruby", "-I", client / "lib", DRIVERS / "drive.rb", cwd=tmp_path, api=api))


def test_php(api: Api, generate: Generate, tmp_path: Path) -> None:
    need("php", "php-cli")
    library(PHP_LIBRARIES / "GuzzleHttp" / "autoload.php", "php-guzzlehttp-guzzle")
    generate("php")
    (tmp_path / "autoload.php").write_text(AUTOLOAD)
    shutil.copy(DRIVERS / "drive.php", tmp_path)
    saw(ran("php", "-d", f"include_path={PHP_LIBRARIES}", "drive.php", cwd=tmp_path, api=api))


def test_typescript(api: Api, generate: Generate, tmp_path: Path) -> None:
    packages = npm.folder("typescript") / "node_modules"
    client = generate("typescript")
    tsc = packages / ".bin" / "tsc"
    ran(tsc, cwd=client)
    ran(tsc, "-p", "tsconfig.esm.json", cwd=client)
    (tmp_path / "node_modules" / "@types").mkdir(parents=True)
    (tmp_path / "node_modules" / "@types" / "node").symlink_to(packages / "@types" / "node")
    (tmp_path / "node_modules" / "tms-client").symlink_to(client)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    shutil.copy(DRIVERS / "drive.ts", tmp_path)
    options = ("--strict", "--target", "es2022", "--module", "nodenext", "--outDir", "out")
    ran(tsc, *options, "drive.ts", cwd=tmp_path)
    saw(ran("node", "out/drive.js", cwd=tmp_path, api=api))


def test_python(api: Api, generate: Generate, tmp_path: Path) -> None:
    client = generate("python")
    python = environments.python("generator")
    saw(ran(python, DRIVERS / "drive.py", cwd=tmp_path, api=api, PYTHONPATH=str(client)))


def test_csharp_is_parsed_but_not_compiled(generate: Generate, tmp_path: Path) -> None:
    """Neither the .NET SDK nor the client's packages Polly and JsonSubTypes are in Debian."""
    sources = generate("csharp") / "src"
    assert (sources / "Tms.Client" / "Api" / "ExecutionsApi.cs").is_file()
    assert int(ran(environments.python("generator"), "-c", PARSE_CSHARP, sources, cwd=tmp_path)) > 100
