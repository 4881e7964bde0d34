// The table of patients in a box of its own: only the rows in sight are on the page. What comes from data enters it as text.
const ROW = 26; // of the table of patients
const COLUMNS = [["pseudonym", "Patient"], ["sex", "Sex"], ["age", "Age"], ["events", "Events"], ["attributes", "Sensitive attributes"],
  ["split", "Split"], ["times", "Seen"]];
const id = `em${Math.random().toString(36).slice(2)}`;

function make(name, properties = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key.startsWith("aria-") || key.startsWith("data-") || ["role", "for", "popover", "popovertarget"].includes(key)) element.setAttribute(key, value);
    else element[key] = value;
  }
  element.append(...children);
  return element;
}

function button(words, act, properties = {}) {
  const made = make("button", { type: "button", textContent: words, ...properties });
  made.addEventListener("click", act);
  return made;
}

// `look` asks for rows (they come by `take`), `chosen` is told the pseudonym of who was picked. `scan`, where there is one, has everybody looked at by `ask`
// (`scanning` tells how far it is), so that the table can begin with who is most exposed; `about` explains that.
function patients(look, chosen, scan) {
  const query = make("input", { type: "search", placeholder: "P-…, male, over 60, substance, seen 16 times …", "aria-label": "Find patients" });
  const count = make("span", { className: "em-count", role: "status" });
  const space = make("div", { className: "em-rows" });
  const table = make("div", { className: "em-table", role: "grid", tabIndex: 0, "aria-label": "Patients" });
  const heads = make("div", { className: "em-row em-heads", role: "row" });
  let sort = "pseudonym";
  let descending = false;
  let total = 0;
  let start = 0;
  let rows = [];
  let at = 0;
  let asked = 0;
  let scanned = false;
  const narrow = make("span", { className: "em-line" });
  const most = button("Most exposed first", () => { if (scanned) mostFirst(); else scan.ask(); }, { hidden: !scan });
  const columns = scan ? [...COLUMNS, ["exposed", "Exposed"]] : COLUMNS;
  for (const [name, words] of columns) heads.append(make("span", { role: "columnheader" }, button(words, () => {
    if (name === "exposed" && !scanned) { scan.ask(); return; }
    [sort, descending] = [name, sort === name ? !descending : ["events", "times", "exposed"].includes(name)];
    ask(0, true);
  }, { "data-column": name })));
  const box = make("div", { className: "em-picker", popover: "auto", role: "dialog", "aria-label": "Choose a patient" },
    make("p", { className: "em-line" }, query, count, button("Close", () => box.hidePopover())), make("p", { className: "em-line" }, narrow, most, scan ? scan.about : ""), heads, table);
  heads.classList.toggle("em-with-exposed", Boolean(scan));
  space.classList.toggle("em-with-exposed", Boolean(scan));
  table.append(space);

  function ask(from, top = false) {
    asked += 1;
    if (top) { at = 0; table.scrollTop = 0; }
    look({ text: query.value, sort, descending, start: Math.max(0, from), count: 60, number: asked });
  }

  function take(message) {
    if (message.number !== asked) return;
    [total, start, rows, scanned] = [message.total, message.start, message.rows, message.exposed];
    count.textContent = message.words;
    if (!narrow.firstChild) narrow.append(...(message.facets || []).map(facet));
    table.setAttribute("aria-rowcount", total);
    for (const head of heads.querySelectorAll("button")) head.parentElement.setAttribute("aria-sort", head.dataset.column === sort ? (descending ? "descending" : "ascending") : "none");
    draw();
  }

  // A choice that adds its words to the search, where they can be seen and taken out again.
  function facet([name, words]) {
    const made = make("select", { "aria-label": name }, make("option", { value: "", textContent: name }),
      ...words.map(([one, n]) => make("option", { value: one, textContent: `${one} (${n.toLocaleString("en")})` })));
    made.addEventListener("change", () => { query.value = `${query.value} ${made.value}`.trim(); made.value = ""; ask(0, true); });
    return made;
  }

  function mostFirst() {
    [sort, descending] = ["exposed", true];
    ask(0, true);
  }

  function scanning(message) {
    if (message.done) mostFirst();
    else if (message.stopped) ask(start);
    else count.textContent = message.words;
  }

  function draw() {
    space.style.height = `${total * ROW}px`;
    space.replaceChildren(...rows.map((row, i) => {
      const line = make("div", { className: "em-row", role: "row", id: `${id}-row-${start + i}`, "aria-rowindex": start + i + 1, "aria-selected": String(start + i === at) },
        ...row.map((cell) => make("span", { role: "gridcell", textContent: cell, title: cell })));
      line.style.top = `${(start + i) * ROW}px`;
      line.addEventListener("click", () => pick(start + i));
      return line;
    }));
    table.setAttribute("aria-activedescendant", `${id}-row-${at}`);
  }

  function move(to) {
    at = Math.max(0, Math.min(total - 1, to));
    const top = at * ROW;
    if (top < table.scrollTop) table.scrollTop = top;
    if (top + ROW > table.scrollTop + table.clientHeight) table.scrollTop = top + ROW - table.clientHeight;
    if (at < start || at >= start + rows.length) ask(at - 20);
    else draw();
  }

  function pick(place) {
    const row = rows[place - start];
    if (!row) return;
    box.hidePopover();
    chosen(row[0]);
  }

  const page = () => Math.max(1, Math.floor(table.clientHeight / ROW) - 1);
  table.addEventListener("keydown", (event) => {
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, PageDown: at + page(), PageUp: at - page(), Home: 0, End: total - 1 }[event.key];
    if (to !== undefined) { event.preventDefault(); move(to); }
    if (event.key === "Enter") pick(at);
  });
  table.addEventListener("scroll", () => {
    const top = Math.floor(table.scrollTop / ROW);
    if (top < start || top + table.clientHeight / ROW > start + rows.length) ask(top - 20);
  });
  query.addEventListener("input", () => ask(0, true));
  query.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown") { event.preventDefault(); table.focus(); }
    if (event.key === "Enter") pick(at);
  });
  box.addEventListener("toggle", (event) => { if (event.newState === "open") { query.focus(); ask(0, true); } });
  return { box, take, scanning, toggle: () => box.togglePopover() };
}
