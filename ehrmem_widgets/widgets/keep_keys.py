"""Keys pressed on a screen stay on the screen: JupyterLab would take arrows and "d" "d" for itself (it deletes the cell)."""

from __future__ import annotations

import anywidget


class KeepKeys(anywidget.AnyWidget):
    """Shows nothing; placed anywhere inside an ``.ehrmem-screen``, it keeps that screen's keys from the notebook.

    >>> "data-lm-suppress-shortcuts" in KeepKeys._esm
    True
    """

    _esm = """
function render({ el }) {
  el.style.display = "none";
  const keep = (event) => {
    const screen = el.closest(".ehrmem-screen");
    if (screen && screen.contains(event.target)) event.target.setAttribute("data-lm-suppress-shortcuts", "true");
  };
  document.addEventListener("focusin", keep);
  return () => document.removeEventListener("focusin", keep);
}
export default { render };
"""
