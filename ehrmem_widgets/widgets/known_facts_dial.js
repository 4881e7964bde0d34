// The known facts dial: one line a fact, and how well it is known beside it. Data enters the page as textContent and attributes only.
const STEPS = { // what each kind of fact can be known as: [value precision, words on the control, words for a screen reader]
  age: [["", "no", "not known"], ["coarse", "10 y", "known within ten years"], ["exact", "exact", "known exactly"]],
  value: [["", "no", "not known"], ["unknown", "taken", "known to have been taken"], ["coarse", "≈", "known as low, middle or high"],
    ["exact", "exact", "value known exactly"]],
  plain: [["", "no", "not known"], ["exact", "known", "known"]],
};
const DATES = [["exact", "to the minute"], ["day", "to the day"], ["week", "to the week"], ["month", "to the month"], ["unknown", "not at all"]];
const MIXED = "";

function make(name, properties = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key.startsWith("aria-") || key === "role") element.setAttribute(key, value);
    else element[key] = value;
  }
  element.append(...children);
  return element;
}

function dayOf(row) {
  return row.has_date && row.when ? row.when.split(/[ T]/)[0] : "";
}

// One fact: its words on one line (cut to fit, whole on hover and for a screen reader) and a segmented control.
function buildRow(row, number) {
  const kind = row.place < 0 ? "age" : row.has_value ? "value" : "plain";
  const words = row.label + (row.value ? ` ${row.value}` : "");
  const time = row.has_date ? row.when.split(/[ T]/).slice(1).join(" ") : "";
  const name = make("span", { className: "ehrmem-dial-name", title: words });
  if (time) name.append(make("span", { className: "ehrmem-dial-time", textContent: time }), " ");
  name.append(make("span", { className: "ehrmem-dial-label", textContent: row.label }));
  const item = make("li", {}, name);
  if (row.value) item.append(make("span", { className: "ehrmem-dial-value", textContent: row.value }));
  if (row.sensitive) {
    item.className = "ehrmem-dial-sensitive";
    name.title = `${words} (${row.sensitive}: withheld while asked about)`;
    item.append(make("span", { className: "ehrmem-dial-mark", textContent: `◆ ${row.sensitive}, withheld` }));
  }
  const control = make("span", { className: "ehrmem-dial-steps", role: "radiogroup", "aria-label": `Attacker knows: ${words}${time ? ` at ${time}` : ""}` });
  const radios = STEPS[kind].map(([value, shown, said]) => {
    const radio = make("input", { type: "radio", name: `${number}-${row.place}`, value, "aria-label": said });
    control.append(make("label", { title: said }, radio, make("span", { textContent: shown })));
    return radio;
  });
  item.append(control);
  return { place: row.place, item, radios, dated: row.has_date };
}

function buildGroup(day, entries) {
  const words = day || "Without a date";
  const all = make("button", { type: "button", className: "ehrmem-dial-all", textContent: "all" });
  const none = make("button", { type: "button", className: "ehrmem-dial-all", textContent: "none" });
  all.setAttribute("aria-label", `Attacker knows all of ${words}`);
  none.setAttribute("aria-label", `Attacker knows nothing of ${words}`);
  const count = make("span", { className: "ehrmem-dial-count" });
  const heading = make("div", { className: "ehrmem-dial-heading" },
    make("span", { className: "ehrmem-dial-day", role: "heading", "aria-level": "4", textContent: words }), count);
  let date = null;
  if (day) {
    date = make("select", { "aria-label": `How well the date ${day} is known` });
    date.append(make("option", { value: MIXED, textContent: "date: mixed", hidden: true }));
    for (const [value, text] of DATES) date.append(make("option", { value, textContent: `date ${text}` }));
    date.value = "day";
    heading.append(date);
  }
  heading.append(all, none);
  const list = make("ul", { "aria-label": words }, ...entries.map((entry) => entry.item));
  const section = make("section", {}, heading, list);
  section.style.containIntrinsicSize = `auto ${28 + 27 * entries.length}px`; // days out of sight are laid out when scrolled to
  return { day, all, none, count, date, entries, section };
}

function render({ model, el }) {
  const number = Math.random().toString(36).slice(2); // radios are grouped by name over the whole page
  const scroll = make("div", { className: "ehrmem-dial-scroll" });
  el.classList.add("ehrmem-dial");
  el.setAttribute("role", "group");
  el.setAttribute("aria-label", "What the attacker knows");
  el.append(scroll);
  let groups = [];

  const known = () => new Map((model.get("facts") || []).map((fact) => [fact[0], fact]));

  // The controls follow the facts; nothing is rebuilt, so focus and scroll stay.
  function follow() {
    const facts = known();
    for (const group of groups) {
      const dates = new Set();
      let count = 0;
      for (const entry of group.entries) {
        const fact = facts.get(entry.place);
        const value = fact ? (entry.radios.length === 2 ? "exact" : fact[1]) : "";
        const chosen = entry.radios.find((radio) => radio.value === value) || entry.radios.at(-1);
        if (!chosen.checked) chosen.checked = true;
        entry.item.classList.toggle("ehrmem-dial-known", fact !== undefined);
        if (fact) count += 1;
        if (fact && entry.dated) dates.add(fact[2]);
      }
      group.count.textContent = `${count} of ${group.entries.length}`;
      if (group.date && dates.size) group.date.value = dates.size > 1 ? MIXED : [...dates][0];
    }
  }

  function rebuild() {
    const byDay = new Map();
    for (const row of model.get("rows") || []) {
      const day = dayOf(row);
      if (!byDay.has(day)) byDay.set(day, []);
      byDay.get(day).push(buildRow(row, number));
    }
    groups = [...byDay].map(([day, members]) => buildGroup(day, members));
    const nothing = make("p", { className: "ehrmem-dial-nothing", textContent: "This record has no events." });
    scroll.replaceChildren(...(groups.length ? groups.map((group) => group.section) : [nothing]));
    scroll.scrollTop = 0;
    follow();
  }

  function send(change) {
    const facts = known();
    change(facts);
    model.set("facts", [...facts.values()].sort((a, b) => a[0] - b[0]));
    follow();
    model.save_changes();
  }

  function put(facts, group, entry, value) {
    if (!value) facts.delete(entry.place);
    else {
      const before = facts.get(entry.place);
      facts.set(entry.place, [entry.place, value, entry.dated ? before?.[2] || group.date?.value || "day" : "exact"]);
    }
  }

  function changed(event) {
    const group = groups.find((one) => one.section.contains(event.target));
    if (event.target === group.date) {
      send((facts) => {
        for (const entry of group.entries) {
          const fact = facts.get(entry.place);
          if (fact && entry.dated) facts.set(entry.place, [fact[0], fact[1], group.date.value]);
        }
      });
      return;
    }
    const entry = group.entries.find((one) => one.radios.includes(event.target));
    if (entry) send((facts) => put(facts, group, entry, event.target.value));
  }

  function pressed(event) {
    const group = groups.find((one) => one.all === event.target || one.none === event.target);
    if (group) send((facts) => { for (const entry of group.entries) put(facts, group, entry, event.target === group.all ? "exact" : ""); });
  }

  // A radio at the end stays there: native ones go round, so that one press more would turn "exact" into "no".
  function keyed(event) {
    const entry = event.target.type === "radio" && groups.flatMap((group) => group.entries).find((one) => one.radios.includes(event.target));
    if (!entry) return;
    const at = entry.radios.indexOf(event.target);
    if ((["ArrowRight", "ArrowDown"].includes(event.key) && at === entry.radios.length - 1) || (["ArrowLeft", "ArrowUp"].includes(event.key) && at === 0)) event.preventDefault();
  }

  scroll.addEventListener("change", changed);
  scroll.addEventListener("click", pressed);
  scroll.addEventListener("keydown", keyed);
  model.on("change:rows", rebuild);
  model.on("change:facts", follow);
  rebuild();
  return () => {
    model.off("change:rows", rebuild);
    model.off("change:facts", follow);
  };
}

export default { render };
