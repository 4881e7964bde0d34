// The known facts dial. Data enters the page as textContent and attributes only, never as markup.
const VALUES = [["exact", "exact value"], ["coarse", "low / middle / high"], ["unknown", "value unknown"]];
const AGES = [["exact", "exact age"], ["coarse", "within ten years"], ["unknown", "age unknown"]];
const DATES = [["exact", "exact time"], ["day", "the day"], ["week", "the week"], ["month", "the month"], ["unknown", "no date"]];

function make(name, properties = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key.startsWith("aria-") || key === "role") element.setAttribute(key, value);
    else element[key] = value;
  }
  element.append(...children);
  return element;
}

function prototype(options) {
  const select = make("select", { disabled: true });
  for (const [value, words] of options) select.append(make("option", { value, textContent: words }));
  return select;
}

// A copy of a ready-made select: several times faster than building its options for each of hundreds of events.
function choice(ready, name) {
  const select = ready.cloneNode(true);
  select.setAttribute("aria-label", name);
  return select;
}

function dayOf(row) {
  return row.has_date && row.when ? row.when.split(/[ T]/)[0] : "";
}

// One event: a checkbox whose label is the event, and its precisions.
function buildRow(row, ready) {
  const name = row.label + (row.value ? ` ${row.value}` : "");
  const box = make("input", { type: "checkbox" });
  const time = row.has_date ? row.when.split(/[ T]/).slice(1).join(" ") : "";
  const label = make("label", {}, box);
  if (time) label.append(make("span", { className: "ehrmem-dial-time", textContent: time }), " ");
  label.append(make("span", { className: "ehrmem-dial-label", textContent: row.label }));
  if (row.value) label.append(" ", make("span", { className: "ehrmem-dial-value", textContent: row.value }));
  const item = make("li", {}, label);
  if (row.sensitive) {
    item.className = "ehrmem-dial-sensitive";
    label.append(" ", make("span", {
      className: "ehrmem-dial-mark", textContent: `◆ ${row.sensitive}, withheld while asked about`,
    }));
  }
  const entry = { place: row.place, item, box, value: null, date: null };
  const choices = make("span", { className: "ehrmem-dial-choices" });
  if (row.has_value) choices.append(entry.value = choice(row.place < 0 ? ready.ages : ready.values, `How well the value is known: ${name}`));
  if (row.has_date) choices.append(entry.date = choice(ready.dates, `How well the date is known: ${name}, ${row.when}`));
  if (choices.childNodes.length) item.append(choices);
  return entry;
}

function buildGroup(day, entries) {
  const words = day || "Without a date";
  const box = make("input", { type: "checkbox", "aria-label": day ? `Know all of ${day}` : "Know all that has no date" });
  const count = make("span", { className: "ehrmem-dial-count" });
  const all = day ? "know all of this day" : "know all of these";
  const heading = make("div", { className: "ehrmem-dial-heading" },
    make("span", { className: "ehrmem-dial-day", role: "heading", "aria-level": "4", textContent: words }), count,
    make("label", {}, box, all));
  const list = make("ul", { "aria-label": words }, ...entries.map((entry) => entry.item));
  const section = make("section", {}, heading, list);
  section.style.containIntrinsicSize = `auto ${32 + 30 * entries.length}px`; // days out of sight are laid out when scrolled to
  return { box, count, entries, section };
}

function setIfOther(control, property, value) {
  if (control && control[property] !== value) control[property] = value;
}

function showGroup(group) {
  const known = group.entries.filter((entry) => entry.box.checked).length;
  setIfOther(group.box, "checked", known > 0 && known === group.entries.length);
  setIfOther(group.box, "indeterminate", known > 0 && known < group.entries.length);
  setIfOther(group.count, "textContent", `${known} of ${group.entries.length} known`);
}

// JupyterLab takes keys for itself (arrows move between cells, "d" twice deletes the cell) wherever no text is typed: in a
// list, a box, a slider, a button. This tells it that the keys pressed on the screen of the dial belong to the screen.
function keepKeys(el) {
  const keep = (event) => {
    const screen = el.closest(".ehrmem-screen") || el;
    if (screen.contains(event.target)) event.target.setAttribute("data-lm-suppress-shortcuts", "true");
  };
  document.addEventListener("focusin", keep);
  return () => document.removeEventListener("focusin", keep);
}

function render({ model, el }) {
  const giveKeysBack = keepKeys(el);
  const note = make("p", { className: "ehrmem-dial-note", role: "status" });
  const scroll = make("div", { className: "ehrmem-dial-scroll" });
  el.classList.add("ehrmem-dial");
  el.setAttribute("role", "group");
  el.setAttribute("aria-label", "What the attacker knows");
  el.append(note, scroll);
  let entries = [];
  let groups = [];

  // The boxes follow the facts; nothing is rebuilt, so focus and scroll stay.
  function follow() {
    const known = new Map((model.get("facts") || []).map((fact) => [fact[0], fact]));
    for (const entry of entries) {
      const fact = known.get(entry.place);
      setIfOther(entry.box, "checked", fact !== undefined);
      if (fact) {
        setIfOther(entry.value, "value", fact[1]);
        setIfOther(entry.date, "value", fact[2]);
      }
      setIfOther(entry.value, "disabled", !fact);
      setIfOther(entry.date, "disabled", !fact);
    }
    groups.forEach(showGroup);
  }

  function rebuild() {
    const byDay = new Map();
    const ready = { values: prototype(VALUES), ages: prototype(AGES), dates: prototype(DATES) };
    entries = (model.get("rows") || []).map((row) => {
      const entry = buildRow(row, ready);
      const day = dayOf(row);
      if (!byDay.has(day)) byDay.set(day, []);
      byDay.get(day).push(entry);
      return entry;
    });
    groups = [...byDay].map(([day, members]) => buildGroup(day, members));
    const nothing = make("p", { className: "ehrmem-dial-note", textContent: "This record has no events." });
    scroll.replaceChildren(...(groups.length ? groups.map((group) => group.section) : [nothing]));
    follow();
  }

  function send() {
    const facts = entries.filter((entry) => entry.box.checked)
      .map((entry) => [entry.place, entry.value ? entry.value.value : "exact", entry.date ? entry.date.value : "exact"])
      .sort((a, b) => a[0] - b[0]);
    model.set("facts", facts);
    follow();
    model.save_changes();
  }

  function changed(event) {
    const group = groups.find((one) => one.box === event.target);
    if (group) for (const entry of group.entries) entry.box.checked = group.box.checked;
    send();
  }

  function showNote() {
    note.textContent = model.get("focus_note") || "";
  }

  scroll.addEventListener("change", changed);
  model.on("change:rows", rebuild);
  model.on("change:facts", follow);
  model.on("change:focus_note", showNote);
  rebuild();
  showNote();
  return () => {
    giveKeysBack();
    model.off("change:rows", rebuild);
    model.off("change:facts", follow);
    model.off("change:focus_note", showNote);
  };
}

export default { render };
