"""The login of deploy/login/, by a real Caddy: who gets where, in whose name, and what a client says of itself."""

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestration.config.settings import REPOSITORY, Settings
from orchestration.pipeline.run_coordinator import NOBODY
from orchestration.storage.instance import open_instance
from tests.orchestration.servers import free_ports, running, wait_for

LOGIN = REPOSITORY / "deploy" / "login"
# Of "a password", at the lowest cost: what people use comes of `caddy hash-password`.
PASSWORD, HASH = "a password", "$2b$04$NzwxCa//7mH/0Xyp1o2H9OWFIGvYV/WMmpaSHvsmTO2xogaSl.v6G"
ROLES = {"olga": "operator", "viktor": "viewer", "eve": None}
SITES, SERVERS = ("DAGSTER", "MLFLOW", "PLAY"), ("DAGSTER", "DAGSTER_READ_ONLY", "MLFLOW", "SERVICE", "GATEWAY")
PROXY_KEY, PAGE_KEY = "of the proxy", "of the page"
FORGED = {
    "Remote-User": "root",
    "remote_user": "root",
    "Remote-Groups": "platform",
    "Remote_Groups": "platform",
    "X-Likeness-Proxy": "guessed",
    "X_Likeness_Proxy": "guessed",
}


@dataclass
class Answer:
    """What came back; of the server behind: which one, and what it was sent."""

    status: int
    body: str
    headers: dict[str, str]

    @property
    def server(self) -> str:
        return json.loads(self.body)["server"]

    @property
    def sent(self) -> dict[str, str]:
        return {name.lower(): value for name, value in json.loads(self.body)["headers"].items()}


@dataclass
class Login:
    """A running Caddy, and where its sites answer."""

    sites: dict[str, str]
    environment: dict[str, str] = field(default_factory=dict)

    def ask(
        self,
        site: str,
        person: str | None,
        path: str = "/",
        method: str = "GET",
        headers: dict[str, str] | None = None,
        body: Any = None,
    ) -> Answer:
        given = dict(headers or {})
        if person:
            given["Authorization"] = f"Basic {b64encode(f'{person}:{PASSWORD}'.encode()).decode()}"
        return ask(f"{self.sites[site]}{path}", method, given, body)


def ask(url: str, method: str = "GET", headers: dict[str, str] | None = None, body: Any = None) -> Answer:
    """One request; no redirect is followed."""
    data = None if body is None else json.dumps(body).encode()
    given = {**(headers or {}), **({"Content-Type": "application/json"} if data else {})}
    request = urllib.request.Request(url, data, given, method=method)
    try:
        with OPENER.open(request, timeout=60) as answer:
            return Answer(answer.status, answer.read().decode(), dict(answer.headers))
    except urllib.error.HTTPError as error:
        return Answer(error.code, error.read().decode(), dict(error.headers))


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args: Any) -> None:
        return None


OPENER = urllib.request.build_opener(_Stay)


@contextmanager
def echoes(ports: dict[str, int]) -> Iterator[None]:
    """A server on each port, which answers with its name and what it was sent. The gateway's answers as one would that
    knows people by a cookie.
    """

    def handler(name: str) -> type[BaseHTTPRequestHandler]:
        class Echo(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                who = self.headers.get("Cookie", "") if name == "GATEWAY" else ""
                self.send_response(302 if name == "GATEWAY" and not who else 200)
                if who:
                    person, groups = who.split(":")
                    self.send_header("Remote-User", person)
                    self.send_header("Remote-Groups", groups)
                elif name == "GATEWAY":
                    self.send_header("Location", "https://login.studio.example/")
                body = json.dumps({"server": name, "headers": dict(self.headers)}).encode()
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_GET

            def log_message(self, format: str, *args: Any) -> None:
                """Nothing."""

        return Echo

    servers = [ThreadingHTTPServer(("127.0.0.1", port), handler(name)) for name, port in ports.items()]
    for server in servers:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()


def caddy() -> str:
    """Skips the test where it is missing."""
    found = shutil.which("caddy")
    if not found:
        pytest.skip("Caddy is not installed: apt-get install caddy")
    return found


@contextmanager
def login(folder: Path, behind: dict[str, int], way: str = "accounts") -> Iterator[Login]:
    """Caddy with the project's own files, before servers on these ports."""
    program = caddy()
    shutil.copytree(LOGIN, folder, dirs_exist_ok=True)
    (folder / "accounts.caddy").write_text("".join(f"{name} {HASH}\n" for name in ROLES))
    (folder / "roles.caddy").write_text("".join(f"{name} {role}\n" for name, role in ROLES.items() if role))
    *sites, own = (f"http://127.0.0.1:{port}" for port in free_ports(len(SITES) + 1))
    made = Login(dict(zip(SITES, sites, strict=True)))
    made.environment = {
        "GLOBAL_OPTIONS": "admin off\nauto_https off",
        "LOGIN": way,
        "LOGIN_SITE": own,
        "PROXY_KEY": PROXY_KEY,
        "PAGE_KEY": PAGE_KEY,
        **{f"{name}_SITE": url for name, url in made.sites.items()},
        **{name: f"127.0.0.1:{port}" for name, port in behind.items()},
    }
    command, log = [program, "run", "--config", str(folder / "Caddyfile")], folder / "log"
    with running(command, log, {**made.environment, "HOME": str(folder)}) as process:
        for url in made.sites.values():
            _wait_for(url, process, log)
        yield made


def _wait_for(url: str, process: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            ask(url)
            return
        except urllib.error.URLError:
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()[-4000:]
            time.sleep(0.1)


@pytest.fixture(scope="module")
def accounts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Login]:
    behind = dict(zip(SERVERS, free_ports(len(SERVERS)), strict=True))
    with echoes(behind), login(tmp_path_factory.mktemp("login"), behind) as made:
        yield made


@pytest.mark.slow  # a name that is not known costs as much as one that is: a second
def test_nobody_gets_in_without_a_password(accounts: Login) -> None:
    wrong = {"Authorization": f"Basic {b64encode(b'olga:guessed').decode()}"}
    for site in SITES:
        assert accounts.ask(site, None).status == accounts.ask(site, None, headers=wrong).status == 401
    assert accounts.ask("PLAY", "mallory").status == 401


def test_the_role_decides_what_answers(accounts: Login) -> None:
    assert accounts.ask("DAGSTER", "olga", "/graphql", "POST").server == "DAGSTER"
    assert accounts.ask("DAGSTER", "viktor", "/graphql", "POST").server == "DAGSTER_READ_ONLY"
    assert accounts.ask("DAGSTER", "eve").status == accounts.ask("MLFLOW", "eve").status == 403
    assert {accounts.ask("PLAY", person).server for person in ROLES} == {"SERVICE"}


def test_the_person_is_named_by_the_proxy_alone(accounts: Login) -> None:
    for site, person in (("DAGSTER", "olga"), ("DAGSTER", "viktor"), ("MLFLOW", "viktor"), ("PLAY", "eve")):
        sent = accounts.ask(site, person, headers=FORGED).sent
        assert sent["remote-user"] == person
        assert {name: value for name, value in sent.items() if value in ("root", "platform", "guessed")} == {}
        assert sent.get("x-likeness-proxy") == (None if site == "PLAY" else PROXY_KEY)
        # The password is for the login; the page's key is the service's.
        assert sent.get("authorization") == (f"Bearer {PAGE_KEY}" if site == "PLAY" else None)


@pytest.mark.slow
def test_viewers_can_change_nothing_in_mlflow(accounts: Login) -> None:
    """Of every request that MLflow knows."""
    changes, looks = _mlflow_requests()
    assert len(changes) > 50 and len(looks) > 30
    seen = {request for request in changes | looks if accounts.ask("MLFLOW", "viktor", *request).status == 200}
    lists = {(f"/ajax-api/2.0/mlflow/{kind}/search", "POST") for kind in ("runs", "experiments", "logged-models")}
    assert seen & changes == set() and lists <= seen
    assert {request for request in looks if request[1] == "GET"} <= seen
    assert {accounts.ask("MLFLOW", "olga", *request).status for request in sorted(changes)[:5]} == {200}


def _mlflow_requests() -> tuple[set[tuple[str, str]], set[tuple[str, str]]]:
    """Paths and methods of what changes something, and of the rest."""
    from mlflow.server.handlers import get_endpoints

    changing = re.compile(r"_(create|update|delete|set|log|rename|transition|restore|register|upload|link|start|end)_")
    changes, looks = set(), set()
    for path, handler, methods in get_endpoints():
        for method in methods:
            kind = changes if changing.search(f"{handler.__name__}_") else looks
            kind.add((re.sub(r"<[^>]*>", "x", path), method))
    return changes, looks


def test_a_gateway_may_know_the_people_instead(tmp_path: Path) -> None:
    behind = dict(zip(SERVERS, free_ports(len(SERVERS)), strict=True))
    with echoes(behind), login(tmp_path, behind, "gateway") as made:

        def as_one(who: str, site: str = "DAGSTER") -> Answer:
            return made.ask(site, None, headers={**FORGED, "Cookie": who})

        assert made.ask("DAGSTER", None, headers=FORGED).headers["Location"] == "https://login.studio.example/"
        answer = as_one("olga:games, platform")
        assert (answer.server, answer.sent["remote-user"]) == ("DAGSTER", "olga")
        assert as_one("viktor:viewers").server == "DAGSTER_READ_ONLY"
        assert as_one("eve:platform-guests").status == 403
        assert as_one("eve:games", "PLAY").server == "SERVICE"


def test_the_example_starts_as_the_documentation_says(tmp_path: Path) -> None:
    shutil.copytree(LOGIN, tmp_path / "login")
    for name, line in {"accounts": f"ann {HASH}", "roles": "ann operator"}.items():
        (tmp_path / "login" / f"{name}.caddy").write_text(f"{line}\n")
    (service,) = (
        each for each in yaml.safe_load((LOGIN / "compose.yaml").read_text())["services"].values() if "ports" in each
    )
    known = dict.fromkeys(service["environment"], "x")
    for way in ("accounts", "gateway"):
        command = [caddy(), "adapt", "--config", str(tmp_path / "login" / "Caddyfile")]
        environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), **known, "LOGIN": way}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        hosts = set(re.findall(r'"(\w+\.studio\.example)"', done.stdout))
        assert hosts >= {f"{name}.studio.example" for name in ("dagster", "mlflow", "play")}
        assert "$" not in hosts


# --- real Dagster and MLflow behind it

TINY = """
import dagster as dg

@dg.asset
def nothing() -> None: ...

defs = dg.Definitions([nothing])
"""
LAUNCH = """mutation ($params: ExecutionParams!) { launchPipelineExecution(executionParams: $params) {
    __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"""


@pytest.mark.integration
def test_who_started_a_run_is_on_record_and_viewers_start_none(empty_stores: Path, tmp_path: Path) -> None:
    caddy()
    ports = dict(zip(SERVERS, free_ports(len(SERVERS)), strict=True))
    home = Path(shutil.copytree(empty_stores, tmp_path / "home"))
    settings = Settings(root=tmp_path, home=home)
    (tmp_path / "tiny.py").write_text(TINY)
    tracking = ["--backend-store-uri", settings.tracking_uri, "--artifacts-destination", str(tmp_path / "files")]
    with open_instance(settings) as instance:
        pages = [sys.executable, "-m", "dagster_webserver", "-f", str(tmp_path / "tiny.py"), "-h", "127.0.0.1"]
        mlflow = [sys.executable, "-m", "mlflow", "server", "--workers", "1", "--host", "127.0.0.1", *tracking]
        environment = {"DAGSTER_HOME": str(settings.dagster_home), "LIKENESS_PROXY_KEY": PROXY_KEY}
        environment["PYTHONPATH"] = str(REPOSITORY)
        commands = {
            "DAGSTER": [*pages, "-p", str(ports["DAGSTER"])],
            "DAGSTER_READ_ONLY": [*pages, "--read-only", "-p", str(ports["DAGSTER_READ_ONLY"])],
            "MLFLOW": [*mlflow, "--port", str(ports["MLFLOW"])],
        }
        with _all_running(commands, ports, tmp_path, environment), login(tmp_path / "login", ports) as made:
            where = {"repositoryLocationName": "tiny.py", "repositoryName": "__repository__", "jobName": "__ASSET_JOB"}
            tags = [{"key": "user", "value": "olga"}]
            params = {"selector": where, "runConfigData": {}, "executionMetadata": {"tags": tags}}
            launch = {"query": LAUNCH, "variables": {"params": params}}

            def started(answer: Answer) -> str:
                told = json.loads(answer.body)["data"]["launchPipelineExecution"]
                assert told["__typename"] == "LaunchRunSuccess", told
                run = instance.get_run_by_id(told["run"]["runId"])
                assert run is not None
                return run.tags["user"]

            assert started(made.ask("DAGSTER", "olga", "/graphql", "POST", FORGED, launch)) == "olga"
            past_the_login = f"http://127.0.0.1:{ports['DAGSTER']}/graphql"
            assert started(ask(past_the_login, "POST", {**FORGED, "Remote-User": "olga"}, launch)) == NOBODY
            refused = made.ask("DAGSTER", "viktor", "/graphql", "POST", FORGED, launch).body
            assert "UnauthorizedError" in refused or "permission" in refused, refused

            new, api = {"name": "likeness-embedded"}, "/api/2.0/mlflow/registered-models"
            assert made.ask("MLFLOW", "viktor", f"{api}/create", "POST", body=new).status == 403
            assert made.ask("MLFLOW", "olga", f"{api}/create", "POST", body=new).status == 200
            version = {**new, "source": "models:/m-1"}
            made.ask("MLFLOW", "olga", "/api/2.0/mlflow/model-versions/create", "POST", body=version)
            move = {**new, "alias": "production", "version": "1"}
            assert made.ask("MLFLOW", "viktor", f"{api}/alias", "POST", body=move).status == 403
            assert "likeness-embedded" in made.ask("MLFLOW", "viktor", f"{api}/get?name=likeness-embedded").body
            lists = made.ask(
                "MLFLOW", "viktor", "/ajax-api/2.0/mlflow/experiments/search", "POST", body={"max_results": 5}
            )
            assert lists.status == 200 and "experiments" in lists.body
            assert "<title>MLflow" in made.ask("MLFLOW", "viktor").body
            assert "Dagster" in made.ask("DAGSTER", "viktor").body


@contextmanager
def _all_running(
    commands: dict[str, list[str]], ports: dict[str, int], folder: Path, environment: dict[str, str]
) -> Iterator[None]:
    """Every server, all started at once."""
    from contextlib import ExitStack

    with ExitStack() as stack:
        started = {
            name: stack.enter_context(running(command, folder / f"{name}.log", environment, folder))
            for name, command in commands.items()
        }
        for name, process in started.items():
            wait_for(f"http://127.0.0.1:{ports[name]}/", process, folder / f"{name}.log")
        yield
