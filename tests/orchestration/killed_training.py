"""`likeness run` of one small training, which SIGKILL ends at a step: `python -m tests.orchestration.killed_training`.

Steps are logged one by one, and every 20 steps there is a checkpoint.
"""

import sys
from pathlib import Path
from typing import Any

from orchestration.config.catalog import Stage
from orchestration.config.progress import Progress
from orchestration.config.settings import Settings
from orchestration.pipeline import runner
from orchestration.storage.instance import open_instance
from stages.context import Context
from stages.training import Training
from tests.orchestration.conftest import stage
from tests.stages import tiny_training

STEPS, KILLED_AT = 60, 50
TRAINING = Training(steps=STEPS, batch=4, log_every=1, evaluate_every=10, checkpoint_steps=20)


def project(root: Path) -> Settings:
    return Settings(root=root, device="cpu", profile=str(root / "profile.yaml"))


def training(killed_at: int = 0) -> Stage:
    """A stage that trains, and is killed when it asks for this batch."""
    trouble: Any = "dies" if killed_at else ""
    config = tiny_training.Config(training=TRAINING, trouble=trouble, trouble_at=killed_at)

    def train(out: Path, context: Context) -> None:
        tiny_training.run({}, config, out, context)

    made = stage("model", ("embedded",))
    made.module.act = train
    return made


def run(settings: Settings, killed_at: int = 0) -> list[str]:
    with open_instance(settings) as instance:
        stages = (training(killed_at),)
        return runner.run(settings, instance, stages, Progress(lambda line: None), "embedded").made


if __name__ == "__main__":
    run(project(Path(sys.argv[1])), KILLED_AT)
