"""Make a virtual environment with potstill and everything it needs: `python3 install.py VENV [cpu|gpu]`.

Standard library only. Without the second argument a machine whose `nvidia-smi` answers gets the GPU build of vLLM
and any other the CPU build.
"""

import shutil
import subprocess
import sys
import urllib.request
import venv
from pathlib import Path

TORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"


def has_gpu() -> bool:
    """Whether an NVIDIA driver answers."""
    smi = shutil.which("nvidia-smi")
    return smi is not None and subprocess.run([smi, "-L"], capture_output=True).returncode == 0


def torch_cpu_index() -> list[str]:
    """Pip's option for PyTorch's own CPU index, if it answers at once.

    An index that cannot be reached would make pip retry for minutes on machines that are set up to find the CPU
    build elsewhere.
    """
    try:
        urllib.request.urlopen(TORCH_CPU_INDEX + "/torch/", timeout=5).close()
    except OSError:
        return []
    return ["--extra-index-url", TORCH_CPU_INDEX]


def main() -> None:
    """Make the environment, install, and mend what a CPU install may leave broken."""
    if sys.version_info < (3, 11):
        sys.exit(f"potstill needs Python 3.11 or newer; this is {sys.version.split()[0]}. Try: make PYTHON=python3.11")
    folder = Path(sys.argv[1])
    extra = sys.argv[2] if len(sys.argv) > 2 else "gpu" if has_gpu() else "cpu"
    if extra not in ("cpu", "gpu"):
        sys.exit(f"install.py: expected cpu or gpu, found {extra!r}")
    print(f"Making {folder} with the {extra} build of vLLM (about 4 GB, a few minutes)", flush=True)
    venv.create(folder, with_pip=True)
    python = str(folder / ("Scripts" if sys.platform == "win32" else "bin") / "python")
    pip = [python, "-m", "pip", "--disable-pip-version-check"]
    index = torch_cpu_index() if extra == "cpu" else []
    here = Path(__file__).resolve().parent
    subprocess.run([*pip, "install", "--quiet", *index, "-e", f"{here}[{extra},dev]"], check=True)
    if subprocess.run([python, "-c", "import torchvision"], capture_output=True).returncode != 0:
        # vLLM declares these for image and audio models. A build for another torch breaks transformers' import,
        # and text models need none of them.
        subprocess.run([*pip, "uninstall", "--quiet", "-y", "torchvision", "torchaudio", "torchcodec"], check=True)


if __name__ == "__main__":
    main()
