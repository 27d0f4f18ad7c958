"""The files of `deploy/`: they are those of the pages, and do what the pages say, as far as one machine shows it."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from pytest_tms.server.settings import table
from tests.helpers import npm
from tests.helpers.api import Api, result, running
from tests.helpers.certificates import self_signed
from tests.helpers.event_streams import event_stream
from tests.helpers.ports import free_port
from tests.helpers.processes import TmsServer, environ_outside_pytest, wait_for
from tests.integration.server.test_authentication import LOGIN, Visit

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
VARIABLES = {entry.variable for entry in table()}


@pytest.mark.parametrize(
    ("page", "language", "file"),
    [
        ("reverse-proxies.md", "nginx", "nginx/pytest-tms.conf"),
        ("reverse-proxies.md", "caddyfile", "caddy/Caddyfile"),
        ("deploying.md", "ini", "systemd/pytest-tms.service"),
        ("deploying.md", "sh", "systemd/pytest-tms.env"),
        ("containers.md", "dockerfile", "docker/Dockerfile"),
        ("containers.md", "yaml", "docker/compose.yaml"),
    ],
)
def test_a_page_shows_the_file_as_it_is(page: str, language: str, file: str) -> None:
    blocks = re.findall(
        rf"^```{language}\n(.*?)^```", (ROOT / "docs" / page).read_text(), re.DOTALL | re.MULTILINE
    )
    assert (DEPLOY / file).read_text() in blocks


def nginx_command(folder: Path, port: int, upstream: str, certificate: Path, key: Path) -> list[str]:
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None:
        pytest.skip("nginx is not installed")
    block = (DEPLOY / "nginx" / "pytest-tms.conf").read_text()
    for pattern, value in {
        r"server 127\.0\.0\.1:8765;": f"server {upstream};",
        r"listen 80;": f"listen 127.0.0.1:{free_port()};",
        r"listen 443 ssl;": f"listen 127.0.0.1:{port} ssl;",
        r"tms\.example\.com;": "127.0.0.1;",
        r"/etc/letsencrypt/\S+/fullchain\.pem": str(certificate),
        r"/etc/letsencrypt/\S+/privkey\.pem": str(key),
    }.items():
        assert re.search(pattern, block), pattern
        block = re.sub(pattern, value, block)
    folders = "".join(
        f"{name}_temp_path {folder}/{name};\n"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config = folder / "nginx.conf"
    config.write_text(
        f"daemon off;\nmaster_process off;\npid {folder}/pid;\nerror_log stderr;\nevents {{}}\n"
        f"http {{\naccess_log off;\n{folders}{block}}}\n"
    )
    return [program, "-c", str(config), "-p", str(folder)]


def caddy_command(folder: Path, port: int, upstream: str, certificate: Path, key: Path) -> list[str]:
    program = shutil.which("caddy", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if program is None:
        pytest.skip("Caddy is not installed")
    block = (DEPLOY / "caddy" / "Caddyfile").read_text()
    address = "{$TMS_DOMAIN:tms.example.com} {\n"
    assert address in block
    block = block.replace(address, f"https://127.0.0.1:{port} {{\n\ttls {certificate} {key}\n")
    block = block.replace("{$TMS_UPSTREAM:127.0.0.1:8765}", upstream)
    config = folder / "Caddyfile"
    config.write_text(f"{{\n\tadmin off\n\tauto_https disable_redirects\n}}\n{block}")
    return [program, "run", "--config", str(config), "--adapter", "caddyfile"]


PROXIES: dict[str, Callable[..., list[str]]] = {"nginx": nginx_command, "caddy": caddy_command}


@contextmanager
def proxied(name: str, folder: Path) -> Iterator[tuple[Api, Path]]:
    """A server behind a proxy; requests of the yielded object go to the proxy. Also the proxy's certificate."""
    port, upstream = free_port(), f"127.0.0.1:{free_port()}"
    certificate, key = self_signed(folder)
    options = ["--port", upstream.rpartition(":")[2], "--public-url", f"https://127.0.0.1:{port}"]
    with running(folder / "data", options=options) as direct:
        command = PROXIES[name](folder, port, upstream, certificate, key)
        log = folder / "proxy.log"
        environ = {**os.environ, "HOME": str(folder)}
        with log.open("wb") as output, requests.Session() as session:
            process = subprocess.Popen(command, stdout=output, stderr=output, env=environ)
            session.verify = str(certificate)
            session.trust_env = False
            api = Api(f"https://127.0.0.1:{port}/api", direct.token, direct.data_dir, session=session)
            try:
                wait_for(lambda: process.poll() is not None or responds(api))
                assert process.poll() is None, log.read_text()
                yield api, certificate
            finally:
                process.terminate()
                process.wait(timeout=20)


def responds(api: Api) -> bool:
    try:
        return api.request("GET", "/").status_code == 200
    except requests.ConnectionError:
        return False


@pytest.mark.slow
@pytest.mark.parametrize("name", PROXIES)
def test_reports_events_files_and_the_login_pass_through_the_proxy(name: str, tmp_path: Path) -> None:
    with proxied(name, tmp_path) as (api, certificate):
        project = tmp_path / "project"
        project.mkdir()
        (project / "test_it.py").write_text(
            "def test_it(tms, tmp_path):\n    file = tmp_path / 'a.txt'\n    file.write_text('x')\n    tms.attach(file)\n"
        )
        reported = subprocess.run(
            [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-o", "tms_upload=all"],
            cwd=project,
            env={
                **environ_outside_pytest(os.environ),
                "TMS_URL": api.url,
                "TMS_API_TOKEN": api.token,
                "REQUESTS_CA_BUNDLE": str(certificate),
            },
            capture_output=True,
            text=True,
            check=False,
        )
        link = re.search(rf"1 result reported: {api.root}/reports/(exec_\w+)", reported.stdout)
        assert link is not None, reported.stdout + reported.stderr
        # Pages need a login behind a proxy; the form works with the origin that a browser sends.
        browser = Visit(api.root, api.session)
        assert LOGIN in browser.see(f"/runs/{link[1]}").text
        browser.session.headers["Origin"] = api.root
        assert browser.login(api.token).status_code == 303
        assert "test_it" in browser.see(f"/runs/{link[1]}/tests").text
        # Events of an open page arrive while the response is open.
        execution = api.create()
        with event_stream(f"{api.root}/runs/{execution['executionId']}/stream", api.session) as stream:
            api.submit(execution, tests=[result()])
            assert stream.next("changed")
        # A file larger than the buffers of the proxy.
        content = os.urandom(12 << 20)
        path = f"/executions/{execution['executionId']}/artifacts/{hashlib.sha256(content).hexdigest()}"
        assert api.request("PUT", path, content).status_code == 201
        assert api.request("GET", f"{path}/content").content == content


def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is not installed")
    unit = tmp_path / "pytest-tms.service"
    text = (DEPLOY / "systemd" / "pytest-tms.service").read_text()
    unit.write_text(text.replace("/opt/pytest-tms/bin/tms", "/bin/true"))
    verified = subprocess.run([program, "verify", str(unit)], capture_output=True, text=True, check=False)
    assert (verified.returncode, verified.stdout + verified.stderr) == (0, "")


def test_the_command_and_the_settings_of_the_unit_start_a_server(tmp_path: Path) -> None:
    unit = (DEPLOY / "systemd" / "pytest-tms.service").read_text()
    command = re.search(r"^ExecStart=/opt/pytest-tms/bin/tms serve --data-dir (\S+)$", unit, re.MULTILINE)
    assert command is not None
    assert "StateDirectory=pytest-tms\n" in unit
    assert command[1] == "/var/lib/pytest-tms"
    lines = (DEPLOY / "systemd" / "pytest-tms.env").read_text().splitlines()
    environ = dict(line.split("=", 1) for line in lines)
    assert environ.keys() <= VARIABLES
    del environ["TMS_SERVER_DATABASE_URL"]  # SQLite
    port = free_port()
    with running(tmp_path / "state", options=["--port", str(port)], **environ) as public:
        api = Api(f"http://127.0.0.1:{port}/api", public.token, public.data_dir)
        assert api.create()["webhookUrl"].startswith("https://tms.example.com/api/")


def instructions() -> list[tuple[str, str]]:
    """The instructions of the Dockerfile with their arguments."""
    text = re.sub(r"\\\n\s*", "", (DEPLOY / "docker" / "Dockerfile").read_text())
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in lines]


def test_hadolint_accepts_the_dockerfile() -> None:
    program = shutil.which("hadolint", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if program is None:
        pytest.skip("hadolint is not installed")
    linted = subprocess.run(
        [program, str(DEPLOY / "docker" / "Dockerfile")], capture_output=True, text=True, check=False
    )
    assert (linted.returncode, linted.stdout) == (0, "")


def test_the_image_installs_the_version_of_the_project_and_starts_what_exists() -> None:
    found = instructions()
    version = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert version is not None
    assert ("ARG", f"VERSION={version[1]}") in found
    assert ("ENTRYPOINT", '["tms"]') in found
    assert ("CMD", '["serve"]') in found
    variables = dict(each.split("=") for name, text in found if name == "ENV" for each in text.split())
    assert {name for name in variables if name.startswith("TMS_")} <= VARIABLES


@pytest.mark.plugins
@pytest.mark.nightly
def test_the_instructions_of_the_dockerfile_install_and_start_a_healthy_server(tmp_path: Path) -> None:
    if os.name != "posix" or os.geteuid() != 0:
        pytest.skip("the instructions run as root")
    wheels, environment, data = tmp_path / "wheels", tmp_path / "venv", tmp_path / "data"
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", wheels, ROOT], check=True)
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    found = dict(each for each in instructions() if each[0] != "FROM")
    port = free_port()
    environ = {
        **environ_outside_pytest(os.environ),
        "PATH": f"{environment / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PIP_FIND_LINKS": f"{wheels} {os.environ.get('PIP_FIND_LINKS', '')}",
        "TMS_SERVER_PORT": str(port),
        **dict(each.split("=") for each in (found["ARG"], *found["ENV"].split())),
        "TMS_SERVER_DATA_DIR": str(data),
        "TMS_SERVER_HOST": "127.0.0.1",
    }
    script = found["RUN"].replace("/data", str(data)).replace("-o 10001 -g 10001", "")
    installed = subprocess.run(
        ["sh", "-e", "-c", script], env=environ, capture_output=True, text=True, check=False
    )
    assert installed.returncode == 0, installed.stderr
    command = [*json.loads(found["ENTRYPOINT"]), *json.loads(found["CMD"])]
    check = json.loads(found["HEALTHCHECK"].partition("CMD ")[2].replace(":8765/", f":{port}/"))
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen(command, env=environ, stdout=log, stderr=log)
        try:
            wait_for(
                lambda: subprocess.run(check, env=environ, capture_output=True, check=False).returncode == 0,
                seconds=90,
            )
        finally:
            server.terminate()
            status = server.wait(timeout=30)
    assert status in (0, -signal.SIGTERM), (tmp_path / "log").read_text()


def compose() -> dict[str, Any]:
    yaml = pytest.importorskip("yaml")
    loaded: dict[str, Any] = yaml.safe_load((DEPLOY / "docker" / "compose.yaml").read_text())
    return loaded


def test_the_services_of_compose_set_known_settings_and_need_no_secret_in_the_file() -> None:
    services = compose()["services"]
    assert set(services["tms"]["environment"]) <= VARIABLES
    for service in services.values():
        for name, value in service["environment"].items():
            if "PASSWORD" in name or "URL" in name:
                assert "${TMS_" in value, name


@pytest.mark.node
@pytest.mark.slow
def test_the_compose_file_is_valid(tmp_path: Path) -> None:
    config = tmp_path / "dclint.json"
    style = (
        "no-unbound-port-interfaces",
        "require-quotes-in-ports",
        "service-keys-order",
        "services-alphabetical-order",
    )
    config.write_text(json.dumps({"rules": dict.fromkeys(style, 0)}))
    program = npm.folder("dclint") / "node_modules" / ".bin" / "dclint"
    linted = subprocess.run(
        [program, "--config", config, DEPLOY / "docker" / "compose.yaml"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert linted.returncode == 0, linted.stdout + linted.stderr


CHART = DEPLOY / "helm" / "pytest-tms"
URL = {"publicUrl": "https://tms.example.com"}
VALUES: dict[str, dict[str, Any]] = {
    "one": URL,
    "several": {
        **URL,
        "replicas": 3,
        "existingSecret": "tms",
        "artifactsUrl": "s3://bucket/tms",
        "ingress": {"enabled": True, "className": "traefik", "tlsSecret": "certificate"},
        "nodeSelector": {"disk": "ssd"},
        "podAnnotations": {"a": "b"},
    },
    "gateway": {
        **URL,
        "persistence": {"enabled": False},
        "httpRoute": {"enabled": True, "gateway": "public"},
    },
}


def rendered(values: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The objects of the chart by their kind."""
    helm = pytest.importorskip("helm_python")
    yaml = pytest.importorskip("yaml")
    with helm.Chart.load(str(CHART)) as chart:
        chart.validate_schema(values)
        files = chart.render(values, name="demo", namespace="prod")
    documents = [
        each for name, text in files.items() if name.endswith(".yaml") for each in yaml.safe_load_all(text)
    ]
    return {document["kind"]: document for document in documents if document}


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
def test_helm_accepts_the_chart_and_kubernetes_its_objects(values: dict[str, Any]) -> None:
    helm = pytest.importorskip("helm_python")
    kubernetes = pytest.importorskip("kubernetes_validate")
    linted = helm.lint(str(CHART), values, strict=True)
    assert (linted["messages"], linted["errors"]) == ([], [])
    objects = rendered(values)
    for kind, document in objects.items():
        if kind != "HTTPRoute":  # not a part of Kubernetes itself
            kubernetes.validate(document, "1.34", strict=True)
    assert {"Deployment", "Service"} < set(objects)


def test_the_pods_use_known_settings_and_probes_and_run_without_rights() -> None:
    pod = rendered(VALUES["several"])["Deployment"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    environ = {each["name"]: each["value"] for each in container["env"]}
    assert len(environ) == len(container["env"])
    assert environ["TMS_SERVER_PUBLIC_URL"] == "https://tms.example.com"
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert not pod["automountServiceAccountToken"]
    assert not pod["enableServiceLinks"]
    assert environ.keys() <= VARIABLES


def test_the_server_has_what_the_probes_request(tms: TmsServer) -> None:
    (container,) = rendered(URL)["Deployment"]["spec"]["template"]["spec"]["containers"]
    paths = {probe["httpGet"]["path"] for name, probe in container.items() if name.endswith("Probe")}
    (check,) = [text for name, text in instructions() if name == "HEALTHCHECK"]
    paths |= set(re.findall(r"http://127\.0\.0\.1:8765(/\w+)", check))
    assert paths == {"/healthz", "/readyz"}
    for path in paths:
        assert requests.get(f"{tms.root}{path}", timeout=30).status_code == 200, path


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "publicUrl is missing"),
        ({**URL, "replicas": 2, "artifactsUrl": "s3://b/x"}, "name a Secret with TMS_SERVER_DATABASE_URL"),
        ({**URL, "replicas": 2, "existingSecret": "tms"}, "set artifactsUrl"),
        ({**URL, "httpRoute": {"enabled": True}}, "httpRoute.gateway is missing"),
        ({**URL, "replica": 2}, "replica"),
        ({"publicUrl": "tms.example.com"}, "publicUrl"),
    ],
)
def test_values_that_cannot_work_are_refused(values: dict[str, Any], message: str) -> None:
    helm = pytest.importorskip("helm_python")
    with pytest.raises(helm.HelmError) as refused:
        rendered(values)
    assert message in str(refused.value)
