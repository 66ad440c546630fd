"""The six calls of MLflow's REST API that move aliases. Its own client takes two seconds to import."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

RETRIES, SECONDS = 2, 20
PAGE = 1000


class RestError(Exception):
    """The server does not answer, or says no."""


class RestClient:
    """One server. Credentials and TLS are read from the variables that MLflow's client reads."""

    def __init__(self, uri: str) -> None:
        self.base = f"{uri.rstrip('/')}/api/2.0/mlflow"
        self.session = requests.Session()
        self.session.mount(self.base, HTTPAdapter(max_retries=Retry(RETRIES, backoff_factor=0.5)))
        if token := os.environ.get("MLFLOW_TRACKING_TOKEN"):
            self.session.headers["Authorization"] = f"Bearer {token}"
        elif name := os.environ.get("MLFLOW_TRACKING_USERNAME"):
            self.session.auth = (name, os.environ.get("MLFLOW_TRACKING_PASSWORD", ""))
        insecure = os.environ.get("MLFLOW_TRACKING_INSECURE_TLS", "").lower() in ("true", "1")
        self.session.verify = False if insecure else os.environ.get("MLFLOW_TRACKING_SERVER_CERT_PATH") or True
        self.session.cert = os.environ.get("MLFLOW_TRACKING_CLIENT_CERT_PATH")

    def tags(self, name: str) -> dict[str, dict[str, str]]:
        """Every version's tags. Raises RestError."""
        return {
            str(version["version"]): {tag["key"]: tag.get("value", "") for tag in version.get("tags", [])}
            for version in self._versions(name)
        }

    def aliases(self, name: str) -> dict[str, str]:
        """The version of each alias. Raises RestError."""
        model = self._call("GET", "registered-models/get", name=name)["registered_model"]
        return {entry["alias"]: str(entry["version"]) for entry in model.get("aliases", [])}

    def set_registered_model_alias(self, name: str, alias: str, version: str) -> None:
        self._call("POST", "registered-models/alias", name=name, alias=alias, version=version)

    def delete_registered_model_alias(self, name: str, alias: str) -> None:
        self._call("DELETE", "registered-models/alias", name=name, alias=alias)

    def set_model_version_tag(self, name: str, version: str, key: str, value: str) -> None:
        self._call("POST", "model-versions/set-tag", name=name, version=version, key=key, value=value)

    def delete_model_version_tag(self, name: str, version: str, key: str) -> None:
        self._call("DELETE", "model-versions/delete-tag", name=name, version=version, key=key)

    def _versions(self, name: str) -> Iterator[dict[str, Any]]:
        token = ""
        while True:
            page = {"page_token": token} if token else {}
            found = self._call("GET", "model-versions/search", filter=f"name='{name}'", max_results=PAGE, **page)
            yield from found.get("model_versions", [])
            if not (token := found.get("next_page_token", "")):
                return

    def _call(self, method: str, path: str, **values: Any) -> dict[str, Any]:
        query, body = (values, None) if method == "GET" else (None, values)
        try:
            answer = self.session.request(method, f"{self.base}/{path}", params=query, json=body, timeout=SECONDS)
        except requests.RequestException as error:
            raise RestError(type(error).__name__) from error
        if not answer.ok:
            raise RestError(f"{answer.status_code} {answer.reason}: {answer.text[:200]}")
        return answer.json()
