"""JupyterLab for people who do not code: it opens on one notebook, which runs by itself; nothing leaves the machine."""
