"""Steps a second of every training on one device, beside the bare network's, and faces a second read and refined.

    python -m benchmarks.training [--device cuda] [--small] [--json] [--out DIR]       (benchmarks/gpu.sh, on a GPU)

Pictures, parameters and weights are random: speed does not depend on them. Writes `training.json` into DIR:

    machine      device, its name, versions of torch and Python, cores
    trainings    for imitator and parser at the papers' sizes: steps_per_second of our trainer, bare_steps_per_second of
                 the same steps in a plain loop over one batch that is on the device already, their share, data_share
    encoder      steps_per_second of a step with every term of the loss, drawn ones included
    reading      faces_per_second through both recognisers and the encoder, by batch
    refinement   faces_per_second of `refine=gradient`, by batch

`--small`: networks and batches of toys, for a machine without a GPU to come to the end.
"""

import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import typer
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.output import AsJson, notes, write
from engine.schema import Schema
from models.encoder import Architecture, Encoder
from models.face_parts import CLASSES
from models.identity import IdentityModel, build
from models.identity_imitator import IdentityImitator
from models.imitator import Imitator
from models.inference import optimize_for_inference
from models.losses import CompositeLoss, LossWeights, Photos, SupervisedLoss
from models.parsing import FaceParser
from models.prior import FacialPrior
from models.refinement import Refinement
from stages.context import Context
from stages.training import Batch, Optimiser, Training, train

CHARACTER = Path(__file__).resolve().parents[1] / "characters" / "embedded"
Loss = Callable[[Batch], tuple[Tensor, dict[str, Tensor]]]


@dataclass(frozen=True)
class TrainingPlan:
    """Sizes and how long."""

    imitator: tuple[int, float]  # pixels, width
    parser: tuple[Literal[18, 50], float, int]  # depth, width, pixels
    batch: int
    steps: int
    faces: tuple[int, ...]  # batches that are read and refined
    seconds: float


PAPER = TrainingPlan(imitator=(512, 1.0), parser=(50, 1.0, 256), batch=16, steps=100, faces=(1, 16, 128), seconds=5.0)
SMALL = TrainingPlan(imitator=(32, 0.125), parser=(18, 0.125, 64), batch=2, steps=3, faces=(1,), seconds=0.0)


def measured(plan: TrainingPlan, device: str) -> dict[str, Any]:
    """The document."""
    schema = Schema.load(CHARACTER)
    torch.manual_seed(0)
    imitator, parser = Imitator(schema.width, *plan.imitator), FaceParser(plan.parser[0], plan.parser[1])
    return {
        "machine": machine(device),
        "trainings": {
            "imitator": trained("imitator", imitator, *_drawing(imitator, schema.width, plan), plan, device),
            "parser": trained("parser", parser, *_parsing(parser, plan), plan, device),
        },
        **encoder_rates(schema, imitator, parser, plan, device),
    }


def machine(device: str) -> dict[str, Any]:
    """What it was measured on."""
    name = torch.cuda.get_device_name() if device == "cuda" else platform.processor() or platform.machine()
    return {"device": device, "name": name, "torch": torch.__version__, "python": platform.python_version()}


def _drawing(imitator: Imitator, width: int, plan: TrainingPlan) -> tuple[Batch, Loss]:
    renders = torch.randint(0, 255, (plan.batch, 3, plan.imitator[0], plan.imitator[0]), dtype=torch.uint8)

    def loss(batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        total = functional.l1_loss(imitator(batch["x"]), batch["renders"].float() / 255)
        return total, {"l1": total}

    return {"x": torch.rand(plan.batch, width), "renders": renders}, loss


def _parsing(parser: FaceParser, plan: TrainingPlan) -> tuple[Batch, Loss]:
    size = plan.parser[2]
    labels = torch.randint(0, len(CLASSES), (plan.batch, size, size))

    def loss(batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        logits = functional.interpolate(parser(batch["faces"]), size, mode="bilinear", align_corners=False)
        total = functional.cross_entropy(logits, batch["labels"])
        return total, {"cross_entropy": total}

    return {"faces": torch.rand(plan.batch, 3, size, size), "labels": labels}, loss


def trained(name: str, module: nn.Module, batch: Batch, loss: Loss, plan: TrainingPlan, device: str) -> dict[str, Any]:
    """Steps a second in bf16 by our trainer, then bare."""
    logged: dict[str, float] = {}
    context = Context(device=device, on_metrics=lambda values, step: logged.update(values))
    config = Training(steps=plan.steps, batch=plan.batch, precision="bf16-mixed", log_every=max(plan.steps // 4, 1))
    train(name, module, lambda k: batch, loss, config, context)
    ours = logged[f"{name}/whole_run/steps_per_second"]
    bare = _bare(module, {key: value.to(device) for key, value in batch.items()}, loss, plan, device)
    notes.print(f"{name}: {ours:.2f} steps a second, bare {bare:.2f}")
    return {
        "precision": config.precision,
        "batch": plan.batch,
        "steps_per_second": ours,
        "bare_steps_per_second": bare,
        "share": ours / bare,
        "data_share": logged[f"{name}/whole_run/data_share"],
    }


def _bare(module: nn.Module, batch: Batch, loss: Loss, plan: TrainingPlan, device: str) -> float:
    module.train()
    optimiser = Optimiser().build(list(module.parameters()))

    def step() -> None:
        optimiser.zero_grad(set_to_none=True)
        with torch.autocast(device, torch.bfloat16):
            total, _ = loss(batch)
        total.float().backward()
        optimiser.step()

    return 1 / _seconds(step, device, plan.steps)


def encoder_rates(
    schema: Schema, imitator: Imitator, parser: FaceParser, plan: TrainingPlan, device: str
) -> dict[str, Any]:
    """The encoder's step, and faces read and refined."""
    identity = build("faceres+sface")
    encoder = Encoder(
        Architecture(
            schema.n_sliders, tuple(schema.group_sizes), identity.dim, prior=schema.n_sliders, linear=True,
            map_shape=identity.backbone.map_shape, map_channels=64, map_features=600,
        )
    )  # fmt: skip
    encoder.prior = FacialPrior.fit(torch.rand(200, schema.n_sliders), [slider.part for slider in schema.sliders])
    known = IdentityImitator(schema.width, identity.dim, 512)
    refinement = Refinement(known, encoder).to(device)
    reader, encoder = optimize_for_inference(identity.to(device)), encoder.to(device).eval()
    read, refined = {}, {}
    for count in plan.faces:
        faces = torch.rand(count, 3, 256, 256, device=device)
        with torch.inference_mode():
            x = encoder.read(reader, faces).clone()
            read[count] = count / _seconds(lambda: encoder.read(reader, faces), device, 3, plan.seconds)  # noqa: B023
        photos = functional.normalize(torch.rand(count, identity.dim, device=device), dim=1)
        x = x.detach().clone()
        refined[count] = count / _seconds(lambda: refinement.by_gradient(photos, x), device, 1, plan.seconds)  # noqa: B023
        notes.print(f"{count} faces: {read[count]:.0f} a second read, {refined[count]:.0f} refined")
    step = _encoder_step(schema, (imitator, identity, known, parser), encoder, plan, device)
    return {
        "encoder": {"batch": plan.batch, "steps_per_second": 1 / _seconds(step, device, max(plan.steps // 5, 1))},
        "reading": {"faces_per_second": read},
        "refinement": {"faces_per_second": refined},
    }


def _encoder_step(
    schema: Schema, networks: tuple[Imitator, IdentityModel, IdentityImitator, FaceParser], encoder: Encoder,
    plan: TrainingPlan, device: str,
) -> Callable[[], None]:  # fmt: skip
    size, batch = plan.parser[2], plan.batch
    supervised = SupervisedLoss(schema.n_sliders, schema.group_sizes, "l2", 0.3, None)
    weights = LossWeights(identity=0.1, content=0.05, loop=0.1, supervised=1.0, recognised=1.0)
    neutral = torch.from_numpy(schema.neutral())
    loss = CompositeLoss(*networks, neutral, weights, size, supervised).to(device)
    faces = torch.rand(batch, 3, 256, 256, device=device)
    with torch.no_grad():
        embeddings, features = encoder.of(networks[1], faces)
        photos = Photos(embeddings, features, *loss.content_of(faces))
    truth = torch.from_numpy(schema.neutral()).to(device).expand(batch, -1)
    optimiser = Optimiser().build([value for value in encoder.parameters() if value.requires_grad])
    encoder.train()

    def step() -> None:
        optimiser.zero_grad(set_to_none=True)
        total, _ = loss(encoder, photos, (features, truth), (features, embeddings))
        total.backward()
        optimiser.step()

    return step


def _seconds(act: Callable[[], object], device: str, least: int, seconds: float = 0.0) -> float:
    """Of one call, after a first that counts for nothing: the mean of so many, and of as many as fit into `seconds`."""
    act()
    _wait(device)
    began, done = time.perf_counter(), 0
    while done < least or time.perf_counter() - began < seconds:
        act()
        done += 1
    _wait(device)
    return (time.perf_counter() - began) / done


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def show(document: dict[str, Any]) -> None:
    """Print it as lines."""
    where = document["machine"]
    notes.print(f"{where['name']} ({where['device']}), torch {where['torch']}")
    for name, row in document["trainings"].items():
        notes.print(f"{name}: {row['steps_per_second']:.2f} steps a second, {row['share']:.0%} of the bare network's")
    notes.print(f"encoder, every term: {document['encoder']['steps_per_second']:.2f} steps a second")
    for name in ("reading", "refinement"):
        rates = ", ".join(f"{rate:.0f} (batch {count})" for count, rate in document[name]["faces_per_second"].items())
        notes.print(f"{name}, faces a second: {rates}")


def main(
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cuda" if torch.cuda.is_available() else "cpu",
    small: Annotated[bool, typer.Option("--small", help="Toys, to see that it comes to its end.")] = False,
    as_json: AsJson = False,
    out: Annotated[Path, typer.Option(help="Folder for training.json.")] = Path("out"),
) -> None:
    """Measure, and write training.json."""
    document = measured(SMALL if small else PAPER, device)
    write(document, out / "training.json", as_json, lambda: show(document))


if __name__ == "__main__":
    typer.run(main)
