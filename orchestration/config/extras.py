"""Which extra of the package `likeness` brings a library that is not installed."""

import importlib.metadata
import importlib.util

from orchestration.config.causes import causes

PACKAGES = {
    "dlib": "dlib-bin",
    "grpc_health": "grpcio-health-checking",
    "psycopg2": "psycopg2-binary",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
}
"""Packages whose name is not that of their module."""


def require(module: str) -> None:
    """Raises ModuleNotFoundError where a library is missing that only processes started later would import."""
    if importlib.util.find_spec(module) is None:
        raise ModuleNotFoundError(f"No module named '{module}'", name=module)


def missing_extra(error: BaseException) -> str:
    """What to install where the error comes from a library that only an extra brings, "" for any other error."""
    for cause in causes(error):
        if isinstance(cause, ModuleNotFoundError) and cause.name and (extra := _extra_with(cause.name)):
            return f"{cause.name} is not installed: pip install 'likeness[{extra}]'"
    return ""


def _extra_with(module: str) -> str | None:
    from packaging.requirements import Requirement

    top = module.split(".")[0]
    package = PACKAGES.get(top, top.replace("_", "-")).lower()
    ours = importlib.metadata.metadata("likeness")
    for requirement in map(Requirement, ours.get_all("Requires-Dist") or ()):
        if requirement.name.lower() == package and requirement.marker is not None:
            return next(
                name for name in ours.get_all("Provides-Extra") or () if requirement.marker.evaluate({"extra": name})
            )
    return None
