"""What runs of both peers have in common: which Python, what work, which environment."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from roughfed.deploy.speed.federation import ENVIRONMENT, HOST
from roughfed.errors import ConfigError

PROBE = """\
import importlib.metadata, json, sysconfig
print(json.dumps({"version": importlib.metadata.version(%r), "scripts": sysconfig.get_path("scripts")}))
"""
PROBE_S = 60.0
SCRIPTS = Path(__file__).parent
LEFT_OUT = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY")


@dataclass(frozen=True, slots=True)
class Installed:
    """A package in an environment of its own.

    Attributes:
        python: its interpreter.
        scripts: the folder of its commands.
        version: of the package.
    """

    python: str
    scripts: Path
    version: str


def find(python: str, package: str, *, key: str) -> Installed:
    """Ask a Python for a package.

    Raises:
        ConfigError: it does not run, or does not have it.
    """
    cure = f"name the python of an environment that has it: python -m venv E && E/bin/pip install {package}"
    if (found := shutil.which(python)) is None:
        raise ConfigError(f"there is no {python}", key=key, cure=cure)
    path = str(Path.cwd() / found)  # as it is named: where a link leads to is not the environment
    try:
        asked = [path, "-I", "-c", PROBE % package]
        inherited = environment(Path.home())
        done = subprocess.run(asked, env=inherited, capture_output=True, text=True, timeout=PROBE_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ConfigError(f"{python} does not run: {error}", key=key, cure=cure) from None
    if done.returncode:
        said = (done.stderr.splitlines() or ["it said nothing"])[-1]
        raise ConfigError(f"{python} has no {package}: {said}", key=key, cure=cure)
    told = json.loads(done.stdout.splitlines()[-1])
    return Installed(path, Path(told["scripts"]), str(told["version"]))


def environment(home: Path, scripts: Path | None = None) -> dict[str, str]:
    """What a peer's processes inherit: threads and arenas as our own, no telemetry, files in a home of their own."""
    kept = {key: value for key, value in os.environ.items() if key not in LEFT_OUT and not key.startswith("ROUGHFED_")}
    path = os.environ.get("PATH", os.defpath)
    return (
        kept
        | ENVIRONMENT
        | {
            "HOME": str(home),
            "NO_PROXY": f"localhost,{HOST}",
            "PATH": f"{scripts}{os.pathsep}{path}" if scripts else path,
            "PYTHONUNBUFFERED": "1",
        }
    )
