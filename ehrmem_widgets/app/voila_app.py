"""Voila's server as we need it: its own files are found although our template stands before them, and every page that it shows is ours."""

from __future__ import annotations

from pathlib import Path

from jupyter_core.paths import jupyter_path
from voila.app import Voila

from ehrmem_widgets.jupyterlab_autorun.serve import ADDRESS


class VoilaApp(Voila):
    """The server of ``ehrmem app``."""

    @property
    def data_dir(self) -> str:
        """Voila's folder of themes: it would take the first folder of its name, which is that of our template."""
        return next(path for path in jupyter_path("voila") if (Path(path) / "themes").is_dir())

    def init_settings(self) -> dict[str, object]:
        """The page that asks for the password is one of our templates, too; and who is asked for by another name than this computer's own answers
        nobody, where no others are let in."""
        settings = super().init_settings()
        settings["jinja2_env"] = settings["voila_jinja2_env"]
        settings["allow_remote_access"] = self.ip != ADDRESS
        return dict(settings)
