"""What pyproject.toml cannot say: a wheel carries the notebooks and the samples inside the package (see ehrmem_widgets/bundled.py)."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).parent


class WithBundled(build_py):
    """Copies the folders; an editable install finds them beside the package."""

    def run(self) -> None:
        """Build as ever, then copy."""
        super().run()
        if getattr(self, "editable_mode", False):
            return
        for name in ("notebooks", "data_samples"):
            to = Path(self.build_lib) / "ehrmem_widgets" / "bundled" / name
            shutil.copytree(HERE / name, to, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".ipynb_checkpoints"))


setup(cmdclass={"build_py": WithBundled})
