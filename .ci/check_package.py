"""sdist → wheel → import, in an empty environment: what is shipped is whole, and needs no more than it says."""

import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
IMPORTS = """
import ukemi, ukemi.runtime.cli, ukemi.chaos.demo, ukemi.runtime.bridge.tree, ukemi.actors.parser
from importlib.resources import files
assert (files("ukemi") / "py.typed").is_file()
assert (files("ukemi.actors.terminal") / "shell" / "bash.sh").is_file()
assert "site-packages" in ukemi.__file__, ukemi.__file__
print("ukemi", ukemi.__version__, "imports from its wheel")
"""


def main() -> None:
    """Build, install, import."""
    with tempfile.TemporaryDirectory() as folder:
        dist, empty = Path(folder) / "dist", Path(folder) / "venv"
        run(sys.executable, "-m", "build", "--outdir", str(dist), str(ROOT))  # the wheel is made from the sdist
        (wheel,) = dist.glob("*.whl")
        venv.create(empty, with_pip=True)
        python = str(empty / "bin" / "python")
        run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", str(wheel))
        run(python, "-P", "-c", IMPORTS, cwd=folder, quiet=False)
        run(str(empty / "bin" / "ukemi"), "--version", cwd=folder, quiet=False)


def run(*command: str, cwd: str | Path = ROOT, quiet: bool = True) -> None:
    """Run a command; show what it said if it fails."""
    done = subprocess.run(command, cwd=cwd, capture_output=quiet, text=True, check=False)
    if done.returncode:
        print(done.stdout, done.stderr, sep="\n")
        sys.exit(f"failed: {' '.join(command)}")


if __name__ == "__main__":
    main()
