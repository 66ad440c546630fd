"""A Kubernetes cluster of one test's own, as far as Dagster sees it: an API server that starts each job's container as
a process, which shares no folder with others but the volumes that its pod mounts.

A pod has a file system of its own below MOUNTS (a mount namespace: Linux, and root or a kernel that lets others have
one), its container's environment and nothing else of this machine's, and the image's code, which is this checkout. It
has no other network, no limits and no other user.
"""

import json
import os
import shlex
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import platformdirs
import pytest
import yaml

from orchestration.config.settings import REPOSITORY
from tests.orchestration.manifests import problems

MOUNTS = Path("/mnt")
"""What each pod has of its own; another folder of this machine would have to be made first."""
ROOT = MOUNTS / "app"
"""The project's folder in the image."""
KERNELS = Path(platformdirs.user_cache_dir("warp"))
"""The engine's kernels as this machine has compiled them, which takes each pod seconds otherwise."""
NAMESPACE = "likeness"
UNSHARE = ["unshare", "--mount", *(["--user", "--map-root-user"] if os.geteuid() else [])]


def require_mounts() -> None:
    """Skips the test where a process cannot have mounts of its own."""
    if not MOUNTS.is_dir() or any(MOUNTS in Path(path).resolve().parents for path in (REPOSITORY, sys.prefix)):
        pytest.skip(f"{MOUNTS} is missing, or this checkout is in it")
    tried = subprocess.run([*UNSHARE, "mount", "-t", "tmpfs", "none", str(MOUNTS)], capture_output=True, check=False)
    if tried.returncode:
        pytest.skip(f"no mount namespaces here: {tried.stderr.decode().strip()}")


@dataclass
class Pod:
    """The process of a container."""

    name: str
    spec: dict[str, Any]
    folder: Path
    process: subprocess.Popen

    @property
    def log(self) -> str:
        """What it said."""
        return (self.folder / "log").read_text()

    @property
    def environment(self) -> dict[str, str]:
        """What it was given."""
        return json.loads((self.folder / "environment.json").read_text())

    @property
    def files(self) -> set[str]:
        """What it left in its project folder, in the places where a project's data are."""
        root = self.folder / "root" / ROOT.relative_to(MOUNTS)
        return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


@dataclass
class Cluster:
    """Secrets, config maps and claims by name, and the pods that were started."""

    folder: Path
    secrets: dict[str, dict[str, str]] = field(default_factory=dict)
    config_maps: dict[str, dict[str, str]] = field(default_factory=dict)
    pods: dict[str, Pod] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)
    """Objects that a real API server would not take."""

    def claim(self, name: str) -> Path:
        """The folder of a claim."""
        folder = self.folder / "claims" / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def start(self, name: str, spec: Mapping[str, Any]) -> Pod:
        """The pod of this spec."""
        folder = self.folder / "pods" / name
        root = folder / "root"
        _image(root / ROOT.relative_to(MOUNTS))
        (container,) = spec["containers"]
        environment = self._environment(container)
        (folder / "environment.json").write_text(json.dumps(environment, indent=1))
        script = [f"mount --bind {shlex.quote(str(root))} {MOUNTS}"]
        script += [line for mount in container.get("volumeMounts") or () for line in self._mount(spec, mount, root)]
        command = [*(container.get("command") or ()), *(container.get("args") or ())]
        script.append(f"exec {shlex.join(command)}")
        with (folder / "log").open("w") as log:
            process = subprocess.Popen(
                [*UNSHARE, "bash", "-ec", "\n".join(script)],
                cwd=REPOSITORY,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.pods[name] = Pod(name, dict(spec), folder, process)
        return self.pods[name]

    def _environment(self, container: Mapping[str, Any]) -> dict[str, str]:
        """The image's, then that of whole secrets and config maps, then the container's own; the last one counts."""
        own = {"HOME": MOUNTS / "home", "TMPDIR": MOUNTS / "tmp", "LIKENESS_ROOT": ROOT, "PYTHONPATH": REPOSITORY}
        own["WARP_CACHE_PATH"] = KERNELS
        path = f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
        found = {"PATH": path, "LANG": "C.UTF-8", "LIKENESS_COMMIT": "c0ffee"} | {n: str(p) for n, p in own.items()}
        for source in container.get("envFrom") or ():
            kind, maps = ("secretRef", self.secrets) if "secretRef" in source else ("configMapRef", self.config_maps)
            found |= maps[source[kind]["name"]]
        for each in container.get("env") or ():
            if "value" in each:
                found[each["name"]] = each["value"]
            else:
                reference = each["valueFrom"]["secretKeyRef"]
                found[each["name"]] = self.secrets[reference["name"]][reference["key"]]
        return found

    def _mount(self, spec: Mapping[str, Any], mount: Mapping[str, Any], root: Path) -> Iterator[str]:
        (volume,) = (each for each in spec["volumes"] if each["name"] == mount["name"])
        place = root / Path(mount["mountPath"]).relative_to(MOUNTS)
        place.parent.mkdir(parents=True, exist_ok=True)
        if "configMap" in volume:
            place.write_text(self.config_maps[volume["configMap"]["name"]][mount["subPath"]])
            return
        shared = self.claim(volume["persistentVolumeClaim"]["claimName"]) / mount.get("subPath", "")
        for folder in (shared, place):
            folder.mkdir(parents=True, exist_ok=True)
        yield f"mount --bind {shlex.quote(str(shared))} {mount['mountPath']}"

    def create_job(self, job: dict[str, Any]) -> None:
        """As the API server would take it, and a node start it at once."""
        name = job["metadata"]["name"]
        self.refused += [f"{name}: {problem}" for problem in problems(job)]
        self.start(name, job["spec"]["template"]["spec"])

    def status(self, name: str) -> dict[str, Any]:
        """A job's status. Raises KeyError."""
        code = self.pods[name].process.poll()
        return {"active": 1} if code is None else {"failed": 1} if code else {"succeeded": 1}

    def stop(self, name: str) -> None:
        """End a pod. Raises KeyError."""
        self.pods[name].process.kill()


def _image(root: Path) -> None:
    """What the image has in its project folder beside code: see the Dockerfile and its .dockerignore."""
    (root / ".dvc").mkdir(parents=True)
    (root / ".dvc" / "config").write_text("[core]\n    no_scm = true\n")
    shutil.copytree(REPOSITORY / "characters", root / "characters")
    for name in ("artifacts", "data", ".likeness"):
        (root / name).mkdir()
    for name in ("home", "tmp"):
        (root.parent / name).mkdir()


@contextmanager
def cluster(folder: Path) -> Iterator[tuple[Cluster, Path]]:
    """A cluster, and the kubeconfig by which its API server is found. Its pods end with the block."""
    made = Cluster(folder)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(made))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    place = {"name": "c", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}
    context = {"name": "c", "context": {"cluster": "c", "user": "u", "namespace": NAMESPACE}}
    config = {"apiVersion": "v1", "kind": "Config", "current-context": "c", "users": [{"name": "u", "user": {}}]}
    kubeconfig = folder / "kubeconfig"
    kubeconfig.write_text(yaml.safe_dump(config | {"clusters": [place], "contexts": [context]}))
    try:
        yield made, kubeconfig
    finally:
        server.shutdown()
        for pod in made.pods.values():
            if pod.process.poll() is None:
                os.killpg(pod.process.pid, 9)
            pod.process.wait()


def _handler(cluster: Cluster) -> type[BaseHTTPRequestHandler]:
    jobs = f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs"

    class Handler(BaseHTTPRequestHandler):
        """The three requests that Dagster makes of jobs; any other is an error that its log shows."""

        def do_POST(self) -> None:
            job = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.path != jobs:
                return self._answer(404, {})
            cluster.create_job(job)
            return self._answer(201, job)

        def do_GET(self) -> None:
            folder, _, name = self.path.removesuffix("/status").rpartition("/")
            if folder != jobs or name not in cluster.pods:
                return self._answer(404, {})
            job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}}
            return self._answer(200, {**job, "status": cluster.status(name)})

        def do_DELETE(self) -> None:
            name = self.path.partition("?")[0].rpartition("/")[2]
            if name not in cluster.pods:
                return self._answer(404, {})
            cluster.stop(name)
            return self._answer(200, {"kind": "Status", "apiVersion": "v1", "status": "Success"})

        def _answer(self, status: int, body: dict[str, Any]) -> None:
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing: Dagster's log tells what it asked."""

    return Handler
