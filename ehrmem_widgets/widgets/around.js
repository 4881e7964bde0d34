// What every screen has around it: its words explained where they stand and in a list, and the notice that the program behind it has stopped.
const AROUND = (() => {
  // `glossary`: by key, the term, what it means, and the words by which it is recognized. Pressing a word that is marked by `data-term` shows what it means, in `note` (a popover).
  function explain(root, note, glossary) {
    const press = (event) => {
      const word = event.target.closest("[data-term]");
      const said = word && root.contains(word) && glossary()[word.dataset.term];
      if (!said) return;
      const name = document.createElement("b");
      const meaning = document.createElement("p");
      [name.textContent, meaning.textContent] = said;
      note.replaceChildren(name, meaning);
      note.showPopover();
      const at = word.getBoundingClientRect();
      note.style.left = `${Math.max(0, Math.min(at.left, innerWidth - 340))}px`;
      note.style.top = `${Math.max(0, Math.min(at.bottom + 4, innerHeight - note.offsetHeight - 8))}px`;
    };
    root.addEventListener("click", press);
    return () => root.removeEventListener("click", press);
  }

  // The keys of the terms that stand in an element.
  function terms(element, glossary) {
    const text = `${element.innerText || ""} ${[...element.querySelectorAll("svg text")].map((one) => one.textContent).join(" ")}`;
    return Object.keys(glossary).filter((key) => glossary[key][2].some((form) =>
      new RegExp(`(?<!\\w)${form.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")}(?!\\w)`, "i").test(text)));
  }

  // Every word with its meaning; those that stand on the screen first, where `root` is given.
  function list(glossary, root) {
    const made = document.createElement("dl");
    const first = root ? terms(root, glossary) : [];
    for (const key of [...first, ...Object.keys(glossary).filter((one) => !first.includes(one))]) {
      for (const [at, text] of glossary[key].slice(0, 2).entries()) {
        const row = document.createElement(at ? "dd" : "dt");
        row.textContent = text;
        made.append(row);
      }
    }
    return made;
  }

  // While the kernel is dead or out of reach, `notice` is shown, and nothing can be pressed that it would have to answer.
  function watch(model, root, notice, controls) {
    let real = null; // what anywidget hands on does not say whether the kernel lives
    let reached = true; // a server that ended an idle kernel tells nobody: it is asked
    const ask = async () => {
      const kernel = real?.widget_manager?.kernel;
      if (!kernel || document.hidden) return;
      const { baseUrl, token } = kernel.serverSettings;
      const answer = await fetch(`${baseUrl}api/kernels/${kernel.id}`, { headers: token ? { Authorization: `token ${token}` } : {} }).catch(() => null);
      reached = answer !== null && answer.status !== 404;
      if (answer?.status === 404) clearInterval(asking); // it never comes back under this name
      now();
    };
    const now = () => {
      const live = !real || (real.comm_live !== false && reached);
      notice.hidden = live;
      root.classList.toggle("em-not-live", !live);
      for (const control of root.querySelectorAll(controls)) {
        if (notice.contains(control)) continue;
        if (live) { if (control.dataset.wasOff === undefined) continue; control.disabled = control.dataset.wasOff === "true"; delete control.dataset.wasOff; }
        else if (control.dataset.wasOff === undefined) { control.dataset.wasOff = String(control.disabled); control.disabled = true; }
      }
    };
    if (model.widget_manager) model.widget_manager.get_model(model.get("own_id")).then((found) => { real = found; now(); });
    const asking = setInterval(ask, ASK_MS);
    document.addEventListener("visibilitychange", ask);
    model.on("comm_live_update", now);
    now();
    return () => {
      clearInterval(asking);
      document.removeEventListener("visibilitychange", ask);
      model.off("comm_live_update", now);
    };
  }

  // Start again: in JupyterLab by the extension that ran the notebook, else by a new page.
  function restore() {
    const taken = !window.dispatchEvent(new Event("ehrmem-restore", { cancelable: true }));
    if (!taken) location.reload();
  }

  const ASK_MS = 15000;
  const DEAD = "Not live: the program behind this page has stopped or cannot be reached. What you see is its last answer.";
  return { explain, terms, list, watch, restore, DEAD };
})();
