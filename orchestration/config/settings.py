"""Where everything lives and what it runs on. Every field can be set by an environment variable LIKENESS_<FIELD>."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, PositiveFloat, PositiveInt, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from orchestration.config.database_url import MLFLOW_SCHEMA, in_schema

CLUSTERS = ("ray", "k8s")
"""Executors that deal out GPUs by themselves."""
COMPUTED = "computed"
"""Folder of the home folder for what can be computed again, such as the features that encoders are trained on."""
OF_THIS_MACHINE = (
    "LIKENESS_WORKERS",
    "LIKENESS_NOTIFY",
    "LIKENESS_SMTP_PASSWORD",
    "LIKENESS_PERSON_KEY",
    "LIKENESS_PROXY_KEY",
)
"""Variables that mean nothing elsewhere: there are other processors, nobody is told twice, a person's key is hers, and
no proxy asks there.
"""
REPOSITORY = Path(__file__).resolve().parents[2]


def environment_elsewhere(here: Mapping[str, str], without: Collection[str] = ()) -> dict[str, str]:
    """The settings in this environment for a process on another machine: without these names, what is about this
    machine, and what holds a password.
    """
    left_out = {*OF_THIS_MACHINE, *without}
    given = {name: here[name] for name in sorted(here) if name.startswith("LIKENESS_") and name not in left_out}
    return {name: value for name, value in given.items() if value and not urlsplit(value).password}


class Settings(BaseSettings):
    """One object that says where the project, its stores and its servers are."""

    model_config = SettingsConfigDict(env_prefix="LIKENESS_", frozen=True, extra="forbid", defer_build=True)

    root: Path = Field(default=REPOSITORY, validate_default=True)
    """The project: data/, artifacts/, characters/ and .dvc/ are in it."""
    home: Path = Path(".likeness")
    """Run stores (Dagster, MLflow, DVC cache, checkpoints); relative to the root."""
    profile: str = "quickstart"
    """Name of a file in orchestration/profiles/, or a path to one."""
    character: str = "embedded"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "float32"] = "auto"
    """What `likeness create` reads photos in; auto: bfloat16 on a CPU with instructions for it (docs/results.md)."""
    devices: Literal["auto"] | PositiveInt = 1
    """Devices that one training uses at once, and GPUs that it asks a cluster for; auto: every GPU that is visible,
    which on a cluster is the one it asked for."""
    workers: int = Field(default_factory=lambda: len(os.sched_getaffinity(0)), ge=1)
    """Processes that one data stage may use; by default one for each processor this process may run on."""
    checkpoints: Path = Path("checkpoints")
    """Where trainings leave checkpoints, relative to the home folder. On a cluster: storage that every node sees."""
    commit: str = ""
    """Commit of the code, where it runs without its git repository (an image); empty: git is asked."""
    database: str = ""
    """PostgreSQL for Dagster and MLflow, `postgresql://user@host/database`; empty: SQLite in the home folder.
    The password comes from where libpq finds it: PGPASSWORD, or ~/.pgpass."""
    mlflow_uri: str = ""
    """MLflow tracking and registry, usually a server; empty: the database."""
    mlflow_url: str = ""
    """Where browsers reach MLflow, for links; empty: where the server itself is."""
    dvc_remote: str = ""
    """DVC remote, any URL that DVC takes; empty: a folder in the home folder."""
    sources: Literal["here", "remote"] = "here"
    """Whose data/ and characters/ count: this machine's, or, on a worker that has none of its own, those that were
    recorded last, fetched from the remote by md5.
    """
    executor: Literal["multiprocess", "in_process", "ray", "k8s"] = "multiprocess"
    """Where steps run: processes of this machine, the run's own process, jobs of a Ray cluster, Kubernetes jobs."""
    gpu_steps: PositiveInt | None = None
    """GPU steps that a cluster runs at once: the limit of Dagster's pool `device`; None: what it is, 1 at first."""
    resources: dict[str, dict[str, float]] = {}
    """Changes to what assets ask a cluster for, as JSON: {"encoder": {"cpus": 8, "memory_gb": 32}}."""
    ray_address: str = "http://127.0.0.1:8265"
    """Ray's job server, which is its dashboard's address."""
    k8s_image: str = ""
    """Image of the steps; empty: the code location's own."""
    k8s_namespace: str = ""
    """Empty: the run's own."""
    k8s_service_account: str = ""
    """Empty: the run's own."""
    k8s_secrets: tuple[str, ...] = ("likeness",)
    """Secrets whose keys become environment variables of each step: keys of the DVC remote, PGPASSWORD."""
    k8s_volume_claim: str = "likeness"
    """A claim that several nodes can mount at once (ReadWriteMany); checkpoints lie on it."""
    k8s_mount: Path = Path("/mnt/likeness")
    """Where the claim is mounted."""
    k8s_gpu_node_selector: dict[str, str] = {}
    """Labels of the nodes that GPU steps run on, as JSON."""
    k8s_gpu_tolerations: tuple[dict[str, str], ...] = ()
    """Taints that GPU steps tolerate, as JSON: [{"key": "nvidia.com/gpu", "operator": "Exists"}]."""

    keep_runs_days: PositiveFloat | None = None
    """Days after which `likeness clean` removes runs (Dagster's, MLflow's) that made nothing that is kept; None: never.
    """
    keep_served_days: PositiveFloat | None = None
    """Days after which it removes what the service can fetch or draw again and nobody asked for since; None: never."""

    automation: Literal["on", "off"] = "on"
    """Whether scanning and retraining are on when the daemon first starts; Dagster's pages switch each part."""
    retrain_cron: str = "0 3 * * 1"
    """When every source is scanned and what failed is tried again, whatever happened; cron syntax."""
    retrain_timezone: str = "UTC"
    retrain_when: Literal["stale", "drifted"] = "stale"
    """drifted: what is not up to date is made only while players' photos are unlike those of production's training,
    as the asset `served_photos` says."""
    served_cron: str = ""
    """When players' photos are held against those of training; cron syntax. Empty: when somebody asks for it."""
    corrections_cron: str = ""
    """When players' corrections are collected from the service; cron syntax. Empty: when somebody asks for it."""
    look_seconds: PositiveInt = 60
    """How often the daemon looks for new photos and changed characters; two equal scans in a row start a retraining."""
    watts_per_core: float = Field(default=12.0, ge=0)
    """Power of a busy core, by which energy is estimated from its seconds; of your processor: its TDP by its cores."""
    watts_per_gpu: float = Field(default=200.0, ge=0)
    """Power of a GPU, by which energy is estimated from the seconds for which it was taken; of yours: its TDP."""
    notify: str = "log"
    """Who hears of failures, promotions and refusals; several by commas: orchestration/promotion/notifiers.py."""
    dagster_url: str = ""
    """Where people open Dagster's pages, for links in notifications."""
    proxy_key: str = ""
    """By which a login before Dagster's pages proves that it was it that named the person; empty: nobody is believed.
    """

    @field_validator("database")
    @classmethod
    def _is_postgresql_without_password(cls, url: str) -> str:
        if url and not re.match(r"postgresql://[^/]+/[^/?]+", url):
            raise ValueError("expected postgresql://user@host/database")
        if urlsplit(url).password:
            raise ValueError("the URL goes into files and logs: put the password into PGPASSWORD or ~/.pgpass instead")
        return url

    @field_validator("root", "home")
    @classmethod
    def _can_be_addressed(cls, path: Path, info: ValidationInfo) -> Path:
        if "?" in str(path.absolute() if info.field_name == "root" else path):
            raise ValueError(f"{path}: a question mark cannot be in the address of an SQLite file: rename the folder")
        return path

    def model_post_init(self, context: object) -> None:
        root = self.root.expanduser().resolve()
        object.__setattr__(self, "root", root)
        home = root / self.home.expanduser()
        object.__setattr__(self, "home", home)
        shared = self.executor == "k8s" and "checkpoints" not in self.model_fields_set
        checkpoints = self.k8s_mount / "checkpoints" if shared else home / self.checkpoints.expanduser()
        object.__setattr__(self, "checkpoints", checkpoints)

    @property
    def data(self) -> Path:
        """Photos, and the embedded engine's files."""
        return self.root / "data"

    @property
    def characters(self) -> Path:
        """A folder for each character."""
        return self.root / "characters"

    @property
    def dagster_home(self) -> Path:
        """Dagster's configuration, and its storage where that is SQLite."""
        return self.home / "dagster"

    @property
    def cache(self) -> Path:
        """What can be computed again."""
        return self.home / COMPUTED

    @property
    def tracking_uri(self) -> str:
        """What MLflow's client opens: a server or a database."""
        return self.mlflow_uri or self.mlflow_database

    @property
    def mlflow_database(self) -> str:
        """Where MLflow, or the server of it, keeps its tables: beside Dagster's in PostgreSQL, or SQLite."""
        if not self.database:
            return f"sqlite:///{self.home / 'mlflow' / 'mlflow.db'}"
        return in_schema(self.database, MLFLOW_SCHEMA)

    @property
    def mlflow_server(self) -> bool:
        """Whether MLflow is a server that others run; else this project's own database, opened directly."""
        return self.mlflow_uri.startswith(("http://", "https://"))

    @property
    def model_files(self) -> Path:
        """Where MLflow keeps files when no server does it."""
        return self.home / "mlflow" / "files"

    @property
    def remote(self) -> str:
        """The DVC remote's URL, or a folder in the home folder."""
        return self.dvc_remote or str(self.home / "remote")

    def character_names(self) -> list[str]:
        """Every folder of characters/ that has a schema, sorted."""
        return sorted(schema.parent.name for schema in self.characters.glob("*/schema.yaml"))

    def pick_device(self) -> str:
        """ "cuda" where there is one, unless the setting says otherwise."""
        if self.device != "auto":
            return self.device
        import torch

        return "cuda" if torch.cuda.is_available() else "cpu"

    def pick_devices(self) -> int:
        """How many devices a training gets. Raises ValueError when more GPUs are asked for than are visible."""
        if self.pick_device() == "cpu":
            return 1 if self.devices == "auto" else self.devices
        import torch

        visible = torch.cuda.device_count()
        if self.devices == "auto":
            return max(1, visible)
        if self.devices > visible:
            raise ValueError(f"LIKENESS_DEVICES is {self.devices}, but {visible} GPUs are visible: set it to {visible}")
        return self.devices
