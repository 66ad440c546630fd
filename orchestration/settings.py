"""Where everything lives and what it runs on. Every field can be set by an environment variable LIKENESS_<FIELD>."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from pydantic import Field, PositiveInt
from pydantic_settings import BaseSettings, SettingsConfigDict

REPOSITORY = Path(__file__).resolve().parent.parent


class Settings(BaseSettings):
    """One object that says where the project, its stores and its servers are."""

    model_config = SettingsConfigDict(env_prefix="LIKENESS_", frozen=True, extra="forbid")

    root: Path = REPOSITORY
    """The project: data/, artifacts/, characters/ and .dvc/ are in it."""
    home: Path = Path(".likeness")
    """Run stores (Dagster, MLflow, DVC cache, checkpoints); relative to the root."""
    profile: str = "quickstart"
    """Name of a file in orchestration/profiles/, or a path to one."""
    character: str = "embedded"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    devices: Literal["auto"] | PositiveInt = 1
    """Devices that one training uses at once; auto: every GPU that is visible."""
    workers: int = Field(default_factory=lambda: len(os.sched_getaffinity(0)), ge=1)
    """Processes that one data stage may use; by default one for each processor this process may run on."""
    mlflow_uri: str = ""
    """MLflow tracking and registry; empty: SQLite in the home folder."""
    mlflow_url: str = ""
    """Where browsers reach MLflow, for links; empty: where the server itself is."""
    dvc_remote: str = ""
    """DVC remote, any URL that DVC takes; empty: a folder in the home folder."""
    sources: Literal["here", "remote"] = "here"
    """Whose data/ and characters/ count: this machine's, or, on a worker that has none of its own, those that were
    recorded last, fetched from the remote by md5.
    """
    executor: Literal["multiprocess", "in_process"] = "multiprocess"
    """How `dagster dev` runs the steps of a run."""

    def model_post_init(self, context: object) -> None:
        root = self.root.expanduser().resolve()
        object.__setattr__(self, "root", root)
        object.__setattr__(self, "home", root / self.home.expanduser())

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def characters(self) -> Path:
        return self.root / "characters"

    @property
    def dagster_home(self) -> Path:
        return self.home / "dagster"

    @property
    def cache(self) -> Path:
        """What can be computed again, such as the features that encoders are trained on."""
        return self.home / "computed"

    @property
    def checkpoints(self) -> Path:
        return self.home / "checkpoints"

    @property
    def tracking_uri(self) -> str:
        return self.mlflow_uri or f"sqlite:///{self.home / 'mlflow' / 'mlflow.db'}"

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
