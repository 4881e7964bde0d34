// The main screen. DIAL and MAP are the parts of known_facts_dial.js and embedding_map.js; patient_table.js stands before it. What comes from data enters the page as text, or as markup
// that Python made and escaped. The kernel is told what the user did (`tell`), and sends back what is to be seen, as traits.
const TABS = [["steps", "Steps"], ["text", "Text"], ["map", "Map"], ["others", "Other attributes"]];
const NARROW = 1000;

function choice(name, onChange) {
  const made = make("select", { "aria-label": name });
  made.addEventListener("change", () => onChange(made.value));
  return made;
}

function fill(select, options, value) {
  const same = select.options.length === options.length && options.every(([v, t], i) => select.options[i].value === v && select.options[i].textContent === t);
  if (!same) select.replaceChildren(...options.map(([v, t]) => make("option", { value: v, textContent: t })));
  select.value = value;
}

function download(name, parts, type) {
  const link = make("a", { href: URL.createObjectURL(new Blob(parts, { type })), download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

// A picture as it is seen: the theme's colours stand in it, because a file has no theme.
async function pngOf(element, paper) {
  if (element instanceof HTMLCanvasElement) return new Promise((done) => element.toBlob(done));
  const style = getComputedStyle(element);
  const size = element.viewBox.baseVal;
  const source = new XMLSerializer().serializeToString(element)
    .replace(/var\((--[\w-]+)\s*,\s*([^)]*)\)/g, (_, name, otherwise) => (style.getPropertyValue(name).trim() || otherwise).replace(/"/g, "'"))
    .replace(/width="100%"/, `width="${size.width}"`);
  const image = new Image();
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(source)}`;
  await image.decode();
  const canvas = make("canvas", { width: 2 * size.width, height: 2 * size.height });
  const c = canvas.getContext("2d");
  c.fillStyle = paper;
  c.fillRect(0, 0, canvas.width, canvas.height);
  c.drawImage(image, 0, 0, canvas.width, canvas.height);
  return new Promise((done) => canvas.toBlob(done));
}

// What the address says, before JupyterLab takes it out of the address bar.
function fromAddress() {
  const places = [location.hash, (performance.getEntriesByType("navigation")[0] || { name: "" }).name];
  for (const place of places) {
    const found = /[#&]ehrmem=([\w-]+)/.exec(place);
    if (found) return found[1];
  }
  return "";
}

function render({ model, el }) {
  const tell = (act, more = {}, buffers = []) => model.send({ do: act, ...more }, undefined, buffers);
  const stop = [];
  const on = (name, act) => { model.on(name, act); stop.push(() => model.off(name, act)); };
  const listen = (target, name, act, more) => { target.addEventListener(name, act, more); stop.push(() => target.removeEventListener(name, act, more)); };
  let narrow = false;
  let tab = "steps";

  // ---- the parts of the page ----
  const who = button("", () => picker.toggle(), { className: "em-who", "aria-haspopup": "dialog" });
  const chips = make("span", { className: "em-chips", role: "group", "aria-label": "Models" });
  const undo = button("↶", () => tell("undo"), { "aria-label": "Undo", title: "Undo (Ctrl+Z)" });
  const redo = button("↷", () => tell("redo"), { "aria-label": "Redo", title: "Redo (Ctrl+Shift+Z)" });
  const help = button("?", () => { panels.help.togglePopover(); }, { "aria-label": "Help: words and keys" });
  const guide = button("Tour", () => tour.start());
  const others = button("Screens ▾", () => panels.screens.togglePopover(), { title: "The other screens: patient and facts go along" });
  const head = make("header", { className: "em-head" }, who, chips, make("span", { className: "em-space" }), undo, redo, others, guide, help);

  const answer = make("div", { className: "em-answer" });
  const focus = choice("Attribute", (value) => tell("set", { focus: value }));
  const unit = make("span", { textContent: "codes" });
  const horizon = field("horizon", "Horizon", unit);
  const seed = field("seed", "Seed", "");
  const state = make("p", { className: "ehrmem-status", role: "status" });
  const settings = make("div", { className: "em-settings" }, labelled("attribute", "Attribute", focus), horizon.box, seed.box, state);
  const refused = make("p", { className: "em-refused", role: "alert" });
  const bar = make("section", { className: "em-top", "aria-label": "Answer" }, answer, settings, refused);

  let asked = null; // the level chosen last, until the kernel has heard of it: what it says of earlier ones does not move a key that is held
  const levels = make("div", { className: "em-levels", role: "radiogroup", "aria-label": "What the attacker knows" });
  const first = field("first", "First codes", "");
  const dial = make("div", { className: "em-dial" });
  const facts = make("section", { className: "em-facts", "aria-label": "What the attacker knows" },
    make("p", { className: "em-line em-knows" }, make("h3", {}, term("attacker", "The attacker knows")), make("span", { className: "em-space" }), first.box), levels, dial);

  const strip = make("div", { className: "em-tabs", role: "tablist", "aria-label": "Why" });
  const panels = {};
  const tabs = {};
  const parts = model.get("parts") || [];
  const every = [...TABS.slice(0, 3), ...parts.map((one) => [one.name, one.title]), ...TABS.slice(3)];
  for (const [name, words] of [["facts", "Facts"], ...every]) {
    tabs[name] = make("button", { type: "button", role: "tab", id: `em-tab-${name}`, textContent: words, "aria-controls": `em-panel-${name}` });
    tabs[name].addEventListener("click", () => choose(name));
    strip.append(tabs[name]);
    if (name !== "facts") panels[name] = make("div", { className: "em-panel", role: "tabpanel", id: `em-panel-${name}`, "aria-labelledby": `em-tab-${name}`, tabIndex: 0 });
  }
  facts.id = "em-panel-facts";
  const map = make("div");
  const place = button("Place exactly (UMAP)", () => tell("place"));
  const listed = make("div");
  panels.map.append(map, place, listed);
  for (const part of parts) {
    part.chosen = choice(part.choose || part.title, () => begin(part));
    part.shown = make("div");
    part.take = button("Put these facts on the dial", () => tell("take", { name: part.name }), { hidden: true });
    const line = make("p", { className: "em-line" });
    if (part.choose) line.append(labelled(part.term, part.choose, part.chosen));
    if (part.start) {
      line.append(button(part.start, () => begin(part)));
      facts.append(button(part.start, () => { choose(part.name); begin(part); }, { className: "em-wide" }));
    }
    panels[part.name].append(line, part.shown, part.take);
  }
  const body = make("div", { className: "em-body" }, facts, make("section", { className: "em-why", "aria-label": "Why" }, strip,
    ...every.map(([name]) => panels[name])));

  const words = make("p", { className: "em-words" }); // the terms of the tab in front, to be pressed
  body.lastChild.append(words);

  const job = make("span", { className: "em-job", role: "status" });
  const opened = make("input", { type: "file", accept: ".json", hidden: true, "aria-label": "Session file" });
  const seal = make("input", { type: "checkbox" });
  const sealAsk = button("Seal and ask", () => tell("ask_sealed"), { hidden: true });
  const reasons = button("Why this verdict?", () => panels.why.togglePopover());
  const png = button("PNG", savePicture, { title: "The picture in front, as an image" });
  const foot = make("footer", { className: "em-foot" }, button("Report", () => tell("report")), button("Save", () => tell("save")),
    button("Open", () => opened.click()), opened, button("Link", copyLink), png, button("CSV", () => tell("csv"), { title: "Every step and every figure, as a table" }),
    make("label", { className: "em-seal" }, seal, term("sealed", "Seal my question")), sealAsk, job, make("span", { className: "em-space" }), reasons);

  panels.why = make("div", { className: "em-pop", popover: "auto", role: "dialog", "aria-label": "Why this verdict?" });
  panels.help = make("div", { className: "em-pop", popover: "auto", role: "dialog", "aria-label": "Words and keys" });
  panels.screens = make("nav", { className: "em-pop", popover: "auto", "aria-label": "Screens" }, make("h3", { textContent: "The other screens" }),
    make("p", { textContent: "They open in a tab of their own. The patient, what the attacker knows and the attribute go along." }),
    make("ul", {}, ...(model.get("screens") || []).slice(1).map(([name, words, what]) => make("li", {},
      make("a", { href: new URL(name, location.href.split(/[?#]/)[0]).href, target: "_blank", rel: "noopener", textContent: words }), `: ${what}`))));
  const note = make("div", { className: "em-note", popover: "auto" });
  const error = make("div", { className: "ehrmem-error", role: "alert", hidden: true });
  const dead = make("div", { className: "em-dead", role: "alert", hidden: true },
    make("span", { textContent: AROUND.DEAD }), button("Restore", restore));
  const picker = patients((query) => tell("patients", query), (pseudonym) => { tell("patient", { pseudonym }); who.focus(); }, { ask: () => tell("scan"), about: term("exposed", "Exposed") });
  const tour = guided();
  const style = make("div");
  const root = make("div", { className: "ehrmem-screen em-main em-alone" }, style, head, bar, dead, error, body, foot, picker.box, panels.why, panels.help, panels.screens, note, tour.box);
  el.append(root);
  stop.push(DIAL.render({ model, el: dial }), MAP.render({ model, el: map }));

  // ---- small makers ----
  function term(name, words) {
    return make("button", { type: "button", className: "em-term", textContent: words, "data-term": name });
  }

  function labelled(name, words, control) {
    return make("span", { className: "em-labelled" }, term(name, words), control);
  }

  function field(name, words, unit) {
    const input = make("input", { type: "text", inputMode: "numeric", size: 5, "aria-label": words });
    const take = () => tell("field", { name, text: input.value });
    listen(input, "change", take);
    listen(input, "keydown", (event) => { if (event.key === "Enter") take(); }); // JupyterLab keeps the change that Enter makes
    return { input, box: make("span", { className: "em-labelled" }, term(name, words), input, unit), show(value, wrong) { input.classList.toggle("em-wrong", wrong); if (!wrong) input.value = value; } };
  }

  function choose(name) {
    tab = name;
    const front = !narrow && name === "facts" ? "steps" : name;
    for (const [one, made] of Object.entries(tabs)) {
      made.setAttribute("aria-selected", String(one === front));
      made.tabIndex = one === front ? 0 : -1;
    }
    for (const [one] of every) panels[one].hidden = one !== front;
    facts.hidden = narrow && front !== "facts";
    body.classList.toggle("em-only-facts", narrow && front === "facts");
    png.disabled = !picture();
    showWords();
    setTimeout(showWords, 300); // a map draws its legend when it has a size
    const part = parts.find((one) => one.name === front);
    if (part && !part.start && (!part.shown.firstChild || part.shown.classList.contains("em-kept"))) begin(part);
  }

  function showWords() {
    const glossary = model.get("glossary") || {};
    const front = every.map(([name]) => panels[name]).find((one) => !one.hidden);
    const keys = front && front.offsetParent ? AROUND.terms(front, glossary) : [];
    if (words.dataset.keys === keys.join()) return;
    words.dataset.keys = keys.join();
    words.replaceChildren(...(keys.length ? ["Words: "] : []), ...keys.map((key) => term(key, glossary[key][0])));
  }

  function begin(part) { tell("part", { name: part.name, choice: part.chosen.value }); }

  // ---- from the kernel to the page ----
  function show(element, name) {
    const draw = () => {
      element.innerHTML = model.get(name);
      png.disabled = !picture();
    };
    on(`change:${name}`, draw);
    draw();
  }

  function showHead() {
    const now = model.get("head");
    who.textContent = `Patient ${now.patient || ""} ▾  ${now.who || ""}`;
    undo.disabled = !now.undo;
    redo.disabled = !now.redo;
    chips.replaceChildren(...(now.models || []).map((one) => {
      const chip = button(one.name, () => tell("model", { name: one.name }), { className: "em-chip", title: one.words });
      chip.setAttribute("aria-pressed", String(one.on));
      return chip;
    }));
  }

  function showQuestion() {
    const now = model.get("question");
    fill(focus, now.attributes || [], now.focus);
    const shown = now.levels || [];
    if (levels.children.length !== shown.length) {
      levels.replaceChildren(...shown.map(([name, words, title]) => {
        const radio = make("input", { type: "radio", name: `${id}-level`, value: name, "aria-label": title });
        radio.addEventListener("change", () => { asked = name; tell("level", { name }); });
        return make("label", { title }, radio, make("span", { textContent: words }));
      }));
    }
    if (asked === now.level || model.get("error")) asked = null;
    if (asked === null) for (const label of levels.children) label.firstChild.checked = label.firstChild.value === now.level;
    const wrong = now.refused || {};
    unit.textContent = now.unit || "codes";
    for (const [name, one] of [["horizon", horizon], ["seed", seed], ["first", first]]) one.show(now[name], name in wrong);
    refused.textContent = Object.values(wrong).join(" ");
    bar.classList.toggle("em-kept", Object.keys(wrong).length > 0);
    for (const part of parts) fill(part.chosen, (now.choices || {})[part.name] || [], part.chosen.value || ((now.choices || {})[part.name] || [[""]])[0]?.[0] || "");
    seal.checked = now.sealing;
    sealAsk.hidden = !now.sealing;
    root.classList.toggle("em-pending", Boolean(now.pending));
  }

  function showStatus() {
    const now = model.get("status");
    state.textContent = now.words || "";
    state.dataset.state = now.state || "";
    state.dataset.patient = now.patient || "";
    state.dataset.knowledge = now.knowledge || "";
    root.classList.toggle("ehrmem-old", now.state === "old");
    if (now.state === "settled" && now.link) keep(now.link);
    if (now.state === "settled") { showWords(); welcome(); }
  }

  function showError() {
    error.textContent = model.get("error");
    error.hidden = !error.textContent;
  }

  function showJob() {
    const now = model.get("job");
    job.replaceChildren();
    if (now.words) job.append(now.words);
    if (now.words && now.running) job.append(" ", button("Cancel", () => tell("cancel")));
  }

  function showParts() {
    const now = model.get("parts_html") || {};
    for (const part of parts) {
      const one = now[part.name] || {};
      if (part.shown.innerHTML !== one.html) part.shown.innerHTML = one.html || "";
      part.shown.classList.toggle("em-kept", Boolean(one.old));
      part.take.hidden = !one.facts;
    }
    png.disabled = !picture();
    showWords();
  }

  function showHelp() {
    panels.help.replaceChildren(make("h3", { textContent: "Keys" }), make("ul", {}, ...KEYS.map(([key, what]) => make("li", {}, make("kbd", { textContent: key }), ` ${what}`))),
      make("h3", { textContent: "Words" }), AROUND.list(model.get("glossary") || {}));
  }

  // ---- the address, files, the kernel's death ----
  const path = `ehrmem ${location.pathname}`;

  function keep(link) {
    sessionStorage.setItem(path, link);
    if (fromAddress() !== link) history.replaceState(history.state, "", `#ehrmem=${link}`);
  }

  function copyLink() {
    const link = `${location.href.split("#")[0]}#ehrmem=${model.get("status").link}`;
    (navigator.clipboard ? navigator.clipboard.writeText(link) : Promise.reject()).then(
      () => say("Link copied. Opened on this computer, it shows the same question."), () => say(link));
  }

  function say(words) { job.textContent = words; }

  function picture() {
    const front = Object.keys(tabs).find((name) => tabs[name].getAttribute("aria-selected") === "true");
    return front && panels[front] && panels[front].querySelector("svg[role=img], canvas[role=img]");
  }

  async function savePicture() {
    const paper = getComputedStyle(root).getPropertyValue("--jp-layout-color1").trim() || "#fff";
    const shown = picture();
    if (shown) download("ehrmem.png", [await pngOf(shown, paper)], "image/png");
  }

  function restore() {
    sessionStorage.setItem(path, model.get("status").link || "");
    AROUND.restore();
  }

  function received(message, buffers) {
    if (message.kind === "file") download(message.name, buffers.map((one) => one.buffer || one), message.type);
    if (message.kind === "report") {
      const address = URL.createObjectURL(new Blob(buffers.map((one) => one.buffer || one), { type: "text/html" }));
      job.replaceChildren("The report is ready: ", make("a", { href: address, target: "_blank", rel: "noopener", textContent: "open it" }), message.words);
    }
    if (message.kind === "patients") picker.take(message);
    if (message.kind === "scan") picker.scanning(message);
  }

  // ---- the tour ----
  function guided() {
    const words = make("p");
    const count = make("small");
    const box = make("div", { className: "em-tour", hidden: true, role: "dialog", "aria-label": "Tour" }, words,
      make("p", { className: "em-line" }, count, button("Back", () => go(-1)), button("Next", () => go(1)), button("End", end)));
    let stops = [];
    let at = 0;
    function go(step) {
      at += step;
      if (at < 0) at = 0;
      if (at >= stops.length) { end(); return; }
      for (const other of root.querySelectorAll(".em-toured")) other.classList.remove("em-toured");
      const [target, text] = stops[at];
      const there = { patient: who, models: chips, answer: bar, dial: facts, why: strip, report: foot }[target];
      if (target === "dial" && narrow) choose("facts");
      there.classList.add("em-toured");
      words.textContent = text;
      count.textContent = `${at + 1} of ${stops.length}`;
      const [r, all] = [there.getBoundingClientRect(), root.getBoundingClientRect()];
      box.style.left = `${Math.max(8, Math.min(r.left - all.left, all.width - 340))}px`;
      box.style.top = r.bottom + 150 < all.bottom ? `${r.bottom - all.top + 8}px` : `${Math.max(8, r.top - all.top - 140)}px`;
    }
    function end() {
      box.hidden = true;
      for (const other of root.querySelectorAll(".em-toured")) other.classList.remove("em-toured");
    }
    function start() { stops = model.get("tour") || []; at = 0; box.hidden = false; go(0); box.querySelectorAll("button")[1].focus(); }
    return { box, start };
  }

  function welcome() { // the first visit begins with the tour
    if (localStorage.getItem(TOURED)) return;
    localStorage.setItem(TOURED, "yes");
    tour.start();
  }

  // ---- where it stands: it fills the panel of the notebook, or the window ----
  let panel = null;
  function fit() {
    if (!panel && (panel = el.closest(".jp-WindowedPanel-outer"))) sizes.observe(panel); // it is not there yet when this is drawn
    root.classList.toggle("em-whole", !panel); // a page of its own: the window
    root.style.height = panel ? `${Math.max(panel.clientHeight - 4, 540)}px` : "";
    const now = root.clientWidth < NARROW;
    if (now !== narrow || !root.dataset.fitted) {
      narrow = now;
      root.dataset.fitted = "yes";
      root.classList.toggle("em-narrow", narrow);
      choose(narrow && tab === "facts" ? "facts" : tab === "facts" ? "steps" : tab);
    }
  }
  const sizes = new ResizeObserver(fit);
  sizes.observe(document.documentElement);
  sizes.observe(el);
  stop.push(() => sizes.disconnect());

  // JupyterLab takes keys for itself wherever no text is typed: this tells it that a key pressed here belongs to this screen.
  listen(document, "focusin", (event) => { if (root.contains(event.target)) event.target.setAttribute("data-lm-suppress-shortcuts", "true"); });
  listen(root, "keydown", (event) => {
    const typing = event.target.matches("input[type=text], input[type=search]");
    if (!(event.ctrlKey || event.metaKey) || typing) return;
    if (event.key.toLowerCase() === "z") { event.preventDefault(); tell(event.shiftKey ? "redo" : "undo"); }
    if (event.key.toLowerCase() === "y") { event.preventDefault(); tell("redo"); }
  });
  listen(strip, "keydown", (event) => {
    const shown = Object.keys(tabs).filter((name) => tabs[name].offsetParent);
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const next = shown[(shown.indexOf(event.target.id.replace("em-tab-", "")) + step + shown.length) % shown.length];
    choose(next);
    tabs[next].focus();
  });
  listen(panels.steps, "click", (event) => { const step = event.target.closest("[data-step]"); if (step) tell("step", { number: Number(step.dataset.step) }); });
  listen(panels.others, "click", (event) => { const row = event.target.closest("[data-attribute]"); if (row) tell("set", { focus: row.dataset.attribute }); });
  listen(seal, "change", () => tell("sealing", { on: seal.checked }));
  listen(opened, "change", async () => { if (opened.files[0]) tell("open", { text: await opened.files[0].text() }); opened.value = ""; });

  for (const [name, draw] of [["head", showHead], ["question", showQuestion], ["status", showStatus], ["error", showError], ["job", showJob], ["parts_html", showParts], ["glossary", showHelp]]) {
    on(`change:${name}`, draw);
    draw();
  }
  for (const [element, name] of [[style, "sheet"], [answer, "answer"], [panels.steps, "steps"], [panels.text, "text"], [listed, "nearest_list"], [panels.others, "others"], [panels.why, "why"]]) show(element, name);
  on("msg:custom", received);
  fit();
  choose("steps");
  stop.push(AROUND.explain(root, note, () => model.get("glossary") || {}),
    AROUND.watch(model, root, dead, ".em-head button, .em-facts input, .em-facts button, .em-facts select, .em-settings select, .em-settings input, .em-foot button"));
  const wanted = fromAddress() || sessionStorage.getItem(path) || "";
  if (wanted && wanted !== model.get("status").link) tell("open_link", { link: wanted });
  return () => { for (const act of stop) act(); };
}

const TOURED = "ehrmem: the tour was seen";
const KEYS = [["Tab", "to the next control"], ["← →", "on a fact: known less or more precisely; on the tabs: to the next"], ["Ctrl Z", "undo"], ["Ctrl Shift Z", "redo"],
  ["↑ ↓ Page Home End", "in the table of patients"], ["Enter", "choose"], ["Esc", "close what lies on top"]];

export default { render };
