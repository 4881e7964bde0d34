// A prebuilt JupyterLab extension written by hand: JupyterLab asks a module-federation container for "./extension", and
// a container is no more than an object with init() and get(). It needs no shared modules, so no node, no build.
(() => {
  "use strict";

  // Only notebooks that say so, and only those at the top of the folder that `ehrmem explore` serves.
  const wants = (panel) =>
    panel.context.model.getMetadata("ehrmem")?.autorun === true && !panel.context.path.includes("/");

  // How far it is, for the skeleton that stands on the page meanwhile (skeleton.html).
  const loading = (detail) => window.dispatchEvent(new CustomEvent("ehrmem-loading", { detail }));

  const plugin = {
    id: "ehrmem-autorun:plugin",
    description: "Runs all cells of an ehrmem notebook when it is first shown.",
    autoStart: true,
    activate: (app) => {
      // Before any message: a subshell that is taken away loses what the person did, without a word (settings/overrides.json keeps it so).
      app.serviceManager.kernels.commsOverSubshells = "disabled";
      const seen = new WeakSet();
      const run = async () => {
        const panel = app.shell.currentWidget;
        if (!panel?.context?.model?.getMetadata || !panel.sessionContext || seen.has(panel)) return;
        seen.add(panel);
        await panel.context.ready;
        if (!wants(panel)) return void loading("end");
        panel.addClass("ehrmem-notebook");
        loading(1);
        await panel.sessionContext.ready;
        await panel.sessionContext.session?.kernel?.info;
        if (panel.isDisposed) return;
        if (app.shell.currentWidget !== panel) return void seen.delete(panel); // looked away: run when shown again
        const drawn = app.commands.execute("notebook:run-all-cells");
        loading(2);
        await drawn;
      };
      const style = document.createElement("style"); // a folded cell is a line of code that says nothing to a clinician
      style.textContent = ".ehrmem-notebook .jp-InputPlaceholder { display: none; }";
      document.head.append(style);
      const again = async () => {
        const panel = app.shell.currentWidget;
        await panel.sessionContext.restartKernel();
        await panel.sessionContext.session?.kernel?.info;
        await app.commands.execute("notebook:run-all-cells");
      };
      const report = (error) => console.error("ehrmem-autorun", error);
      window.addEventListener("ehrmem-restore", (event) => { // the button on a screen whose kernel died
        event.preventDefault(); // it is taken care of
        void again().catch(report);
      });
      app.restored
        .then(() => {
          app.shell.collapseLeft?.(); // the whole width for the main screen
          app.shell.currentChanged?.connect(() => void run().catch(report));
          return run();
        })
        .catch(report);
    },
  };

  (window._JUPYTERLAB ||= {})["ehrmem-autorun"] = {
    init: () => {},
    get: async () => () => ({ __esModule: true, default: plugin }),
  };
})();
