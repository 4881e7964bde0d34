/** What is seen: the patient, what the attacker knows, and the answer. It asks the worker, and draws what comes back. */
import { queriesNeeded } from "./estimators.js";
import { teach } from "./lesson.js";
import map from "../widgets/embedding_map.js";

const VERDICTS = { Memorized: "memorized", "Population knowledge": "population", "Cannot conclude": "open" };
const KNOWN = { exact: "exactly", coarse: "low, middle or high", unknown: "only that it was done" };
const DATES = { exact: "to the minute", day: "to the day", week: "to the week", month: "to the month", unknown: "not at all" };
const STEPS = 8;
const NOTHING_YET = "—";

/** An element with attributes, properties and children; text is only ever set as text. */
function make(tag, given = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(given)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name.includes("-") || ["role", "for", "list"].includes(name)) made.setAttribute(name, value);
    else made[name] = value;
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

const percent = (share) => `${Math.round(100 * share)} in 100`;
const figure = (one) => (one ? `${percent(one.value)} (${Math.round(100 * one.low)} to ${Math.round(100 * one.high)}), n = ${one.n.toLocaleString("en")}` : NOTHING_YET);
const day = (number) => new Date(number * 86400e3).toISOString().slice(0, 10);

/** How many questions give an even chance of learning it, with their interval; nothing where there is nothing to learn. */
function cost({ held, audited }) {
  if (!held) return "";
  const [value, low, high] = [audited.value, audited.high, audited.low].map((leak) => queriesNeeded(leak, 0.5)?.toLocaleString("en"));
  if (!value) return ` Not one leak in ${audited.n.toLocaleString("en")} samples: at least ${low} questions for an even chance of learning it.`;
  return ` About ${value} ${value === "1" ? "question" : "questions"} (${low} ${high ? `to ${high}` : "or more"}) for an even chance of learning it.`;
}

/**
 * Begin: open the worker and draw the page into `root`; `lesson`: the element for it and its content, where there is one.
 * @param {{root: HTMLElement, worker: Worker, texts: {patients: string, models: string[]}, kernels?: string, lesson?: {root: HTMLElement, text: string}}} given
 */
export function begin({ root, worker, texts, kernels, lesson }) {
  const taught = lesson && teach({ root: lesson.root, explorer: root, lesson: JSON.parse(lesson.text) });
  const told = make("p", { className: "status", role: "status" });
  told.textContent = "The models are being opened …";
  root.replaceChildren(told);
  let page = null;
  worker.onmessage = ({ data }) => {
    if (data.kind === "ready") page = new Page(root, worker, data, taught);
    else if (page) page.heard(data);
    else told.textContent = `This page cannot start: ${data.words}`;
  };
  worker.onerror = () => { told.textContent = "This browser cannot run the models of this page. Try a newer one."; };
  worker.postMessage({ kind: "open", texts, kernels });
}

class Page {
  constructor(root, worker, ready, taught) {
    Object.assign(this, { root, worker, ready, taught, number: 0, answers: {}, steps: [] });
    this.patient = ready.patients[0];
    this.chosen = new Set([ready.models[0]]);
    this.state = null;
    this.#build();
    this.#take(this.patient);
  }

  // ---- what the person does ----

  #take(patient) {
    this.patient = patient;
    this.focus = patient.focus;
    this.#level(this.knowledge ?? "one_lab", false);
    this.#drawFacts();
    this.#ask();
  }

  #level(name, ask = true) {
    this.knowledge = name;
    this.facts = new Map(this.patient.levels[name].map((fact) => [fact.place, fact]));
    if (!ask) return;
    this.#drawFacts();
    this.#ask();
  }

  #dial(place, value) {
    if (value === "no") this.facts.delete(place);
    else this.facts.set(place, { place, value, date: this.facts.get(place)?.date ?? this.dates.value });
    this.knowledge = null;
    this.#ask();
  }

  #allDates(precision) {
    for (const [place, fact] of this.facts) {
      if (place >= 0 && this.patient.rows[place].day !== null) this.facts.set(place, { ...fact, date: precision });
    }
    this.knowledge = null;
    this.#ask();
  }

  #ask() {
    const { attributes } = this.ready;
    const asked = attributes.filter((one) => one.asked).map((one) => one.name);
    if (!asked.includes(this.focus)) asked.push(this.focus);
    this.state = {
      patient: this.patient.pseudonym, facts: [...this.facts.values()].sort((a, b) => a.place - b.place), knowledge: this.knowledge,
      attributes: asked, focus: this.focus, horizon: 64, samples: 1024, seed: 0,
    };
    this.number += 1;
    this.answers = {};
    this.worker.postMessage({ kind: "ask", number: this.number, state: this.state, names: this.ready.models.filter((name) => this.chosen.has(name)) });
    this.#say("Asking …");
    this.bar.setAttribute("aria-busy", "true");
    this.#drawLevels();
  }

  heard(message) {
    if (message.number !== this.number) return;
    if (message.kind === "failed") this.#say(message.words, true);
    if (message.kind === "answer") {
      this.answers[message.answer.model] = message.answer;
      this.#drawAnswer();
    }
    if (message.kind === "done") {
      this.bar.setAttribute("aria-busy", "false");
      this.#addStep();
      this.#say(`Question ${this.steps.length} of this visit, answered in this page${this.ready.kernels === "js" ? ", slowly: this browser does not allow the faster way" : ""}. Who asks often enough finds something by chance.`);
    }
  }

  // ---- what is drawn ----

  #say(words, wrong = false) {
    this.status.textContent = words;
    this.status.classList.toggle("wrong", wrong);
  }

  #build() {
    const { ready } = this;
    const option = (value, words) => make("option", { value, textContent: words });
    this.who = make("select", { id: "who", onchange: () => this.#take(ready.patients[this.who.selectedIndex]) },
      ...ready.patients.map((one) => option(one.pseudonym, `${one.pseudonym}${one.age === null ? "" : ` · ${one.age} years`} · ${one.member ? "in training" : "never seen"}`)));
    this.what = make("select", { id: "what", onchange: () => { this.focus = this.what.value; this.#ask(); } });
    this.models = make("fieldset", { className: "chips" }, make("legend", { textContent: "Models" }), ...ready.models.map((name) =>
      make("label", {}, make("input", { type: "checkbox", checked: this.chosen.has(name), value: name, onchange: (event) => this.#switch(event.target) }), ` ${name}`)));
    this.status = make("p", { className: "status", role: "status" });
    this.said = make("p", { className: "said" });
    this.rows = make("div", { className: "rows" });
    this.of = make("p", { className: "small" });
    this.bar = make("section", { className: "bar", "aria-label": "The answer" }, this.said, this.rows, this.of, this.status);
    this.levels = make("fieldset", { className: "levels" }, make("legend", { textContent: "Ready-made sets" }), ...ready.levels.map(({ name, words }) =>
      make("label", {}, make("input", { type: "radio", name: "level", value: name, onchange: () => this.#level(name) }), ` ${words}`)));
    this.dates = make("select", { id: "dates", onchange: () => this.#allDates(this.dates.value) }, ...Object.entries(DATES).map(([value, words]) => option(value, words)));
    this.dates.value = "day";
    this.list = make("div", { className: "facts" });
    const field = (label, control) => make("p", { className: "field" }, make("label", { for: control.id, textContent: label }), control);
    const knows = make("section", { className: "knows", "aria-label": "What the attacker knows" }, make("h2", { textContent: "The attacker knows" }), this.levels,
      make("details", { open: innerWidth > 760 }, make("summary", { textContent: "Fact by fact" }), field("Dates are known", this.dates), this.list));
    this.panels = { Steps: make("ol", { className: "steps" }), Text: make("div", { className: "text" }), Map: make("div"), "Other attributes": make("div", { className: "others" }), Why: make("div", { className: "why" }) };
    const tabs = make("div", { role: "tablist", "aria-label": "Views", className: "tabs" });
    const boxes = Object.entries(this.panels).map(([name, panel], place) => {
      const id = `panel-${place}`;
      tabs.append(make("button", { type: "button", role: "tab", id: `tab-${place}`, "aria-controls": id, textContent: name, onclick: () => this.#show(place), onkeydown: (event) => this.#arrow(event, place) }));
      return make("div", { role: "tabpanel", id, "aria-labelledby": `tab-${place}`, tabIndex: 0 }, panel);
    });
    this.tabs = tabs;
    this.boxes = boxes;
    this.root.replaceChildren(
      make("section", { className: "ask", "aria-label": "The question" }, field("Patient", this.who), field("Asked about", this.what), this.models), this.bar,
      make("div", { className: "two" }, knows, make("section", { className: "views", "aria-label": "Views of the answer" }, tabs, ...boxes)));
    this.#show(0);
    if (ready.map) {
      this.chart = new Shown({ points: ready.map.points, kinds: ready.map.kinds, query: [], nearest: [], patient: -1, approximate: true, description: "", height: 320 });
      map.render({ model: this.chart, el: this.panels.Map });
    } else this.panels.Map.append(make("p", { textContent: "This model gives no embeddings, so there is no map." }));
  }

  #switch(box) {
    if (box.checked) this.chosen.add(box.value);
    else if (this.chosen.size > 1) this.chosen.delete(box.value);
    else { box.checked = true; this.#say("One model at least is asked.", true); return; }
    this.#ask();
  }

  #show(place) {
    [...this.tabs.children].forEach((tab, i) => { tab.setAttribute("aria-selected", String(i === place)); tab.tabIndex = i === place ? 0 : -1; });
    this.boxes.forEach((box, i) => { box.hidden = i !== place; });
  }

  #arrow(event, place) {
    const n = this.boxes.length;
    const to = { ArrowRight: (place + 1) % n, ArrowLeft: (place + n - 1) % n, Home: 0, End: n - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    this.#show(to);
    this.tabs.children[to].focus();
  }

  #drawLevels() {
    for (const input of this.levels.querySelectorAll("input")) input.checked = input.value === this.knowledge;
  }

  #drawFacts() {
    const { patient } = this;
    this.what.replaceChildren(...this.ready.attributes.map((one) => make("option", { value: one.name, textContent: `${one.title}${patient.held.includes(one.name) ? " ◆" : ""}`, selected: one.name === this.focus })));
    const row = (place, label, choices) => {
      const select = make("select", { id: `fact-${place}`, onchange: () => this.#dial(place, select.value) }, ...choices.map(([value, words]) => make("option", { value, textContent: words })));
      select.value = this.facts.get(place)?.value ?? "no";
      return make("p", { className: "field fact" }, make("label", { for: select.id, textContent: label }), select);
    };
    const made = [];
    if (patient.age !== null) made.push(row(-1, `Age at the first event: ${patient.age}`, [["no", "no"], ["exact", "exactly"], ["coarse", "to ten years"]]));
    let before = null;
    for (const one of patient.rows.filter((each) => each.written)) {
      if (one.day !== before && one.day !== null) made.push(make("h3", { textContent: day(one.day) }));
      before = one.day;
      const choices = one.value === null ? [["no", "no"], ["exact", "known"]] : [["no", "no"], ...Object.entries(KNOWN)];
      made.push(row(one.place, `${one.label}${one.value === null ? "" : `: ${Number(one.value.toPrecision(4))}`}${one.sensitive ? " ◆" : ""}`, choices));
    }
    this.list.replaceChildren(...made);
  }

  #drawAnswer() {
    const first = this.ready.models.find((name) => this.answers[name]);
    const answer = this.answers[first];
    const finding = answer.attributes.find((one) => one.name === answer.focus);
    const { judgement } = finding;
    const verdict = judgement?.verdict ?? (finding.held || !answer.settled ? "Not decided yet" : "Nothing to give away");
    this.bar.dataset.verdict = VERDICTS[verdict] ?? "open";
    this.said.replaceChildren(make("b", { textContent: `${verdict}${this.chosen.size > 1 ? ` (${first})` : ""}${judgement ? ":" : ""}` }), judgement ? ` ${judgement.sentence}`
      : answer.settled ? " The record does not hold it, so there is nothing of this patient to give away." : " asking the model, then similar people whom no model saw.");
    const rows = this.ready.models.filter((name) => this.answers[name]).map((name) => [name, this.answers[name].attributes.find((one) => one.name === answer.focus).audited, "audited"]);
    if (finding.reference) rows.push(["a model that never saw them", finding.reference, "reference"]);
    if (finding.controls.length) {
      const mean = finding.controls.reduce((sum, [audited]) => sum + audited, 0) / finding.controls.length;
      rows.push([`${finding.controls.length} similar people`, { value: mean, low: mean, high: mean, n: finding.controls.length }, "similar"]);
    }
    this.rows.replaceChildren(...rows.flatMap(([words, one, kind]) => [make("span", { textContent: words }), bar(one, kind), make("b", { textContent: percent(one.value), title: kind === "similar" ? `the mean of ${one.n}` : figure(one) })]));
    const { known } = answer;
    const fits = known.k === null ? "" : known.k === 1 ? `: unique in this data set (1 of ${known.n.toLocaleString("en")})` : `: ${known.k.toLocaleString("en")} of ${known.n.toLocaleString("en")} patients fit`;
    this.of.textContent = `The attacker knows ${known.facts} ${known.facts === 1 ? "fact" : "facts"}${fits}.${cost(finding)} ${answer.warnings.join(" ")}`;
    this.#drawText(answer);
    this.#drawMap();
    this.#drawOthers(answer);
    this.#drawWhy(finding);
  }

  #drawText(answer) {
    const line = (title, events) => make("section", {}, make("h3", { textContent: title }), make("p", { className: "codes" }, ...events.slice(0, 24).map((one) =>
      make("span", { className: `${one.sensitive ? "sensitive " : ""}${one.true ? "true" : ""}`, textContent: `${one.true && title !== "What really followed" ? "✓ " : ""}${one.label}${one.sensitive ? " ◆" : ""}` }))));
    this.panels.Text.replaceChildren(line("What really followed", answer.truth), ...answer.generated.map((events, place) => line(`What ${answer.model} writes, ${place + 1}`, events)),
      make("p", { className: "small", textContent: "✓ stands in the true continuation, too. ◆ gives a sensitive attribute away." }));
  }

  #drawMap() {
    const { chart } = this;
    const { model } = this.ready.map ?? {};
    const found = this.answers[model]?.neighbours;
    if (!chart || (this.answers[model] && !found)) return; // the answer before stands until this one's comes
    if (!found) chart.set({ query: [], led_to: [], nearest: [], patient: -1, description: `The map is that of ${model}, which is switched off.` });
    else chart.set({ query: found.position ?? [], led_to: found.ledTo, nearest: found.nearest, patient: found.own,
      description: `Each point is a record of ${model}. The cross is what the attacker holds, placed roughly, by its neighbours; the patient's own record is number ${found.rank} of the ${found.n} people of this page by distance${found.continuedRank ? `, and ${found.continuedRank === 1 ? "the nearest" : `number ${found.continuedRank}`} by where the model's own continuations lead` : ""}.` });
  }

  #drawOthers(answer) {
    this.panels["Other attributes"].replaceChildren(make("table", {}, make("thead", {}, make("tr", {}, ...["Attribute", "In the record", answer.model, "Never saw them", "Verdict"].map((words) => make("th", { textContent: words, scope: "col" })))),
      make("tbody", {}, ...answer.attributes.map((one) => make("tr", {}, make("th", { textContent: one.title, scope: "row" }),
        ...[one.held ? "yes" : "no", figure(one.audited), figure(one.reference), one.judgement?.verdict ?? NOTHING_YET].map((words) => make("td", { textContent: words })))))));
  }

  #drawWhy(finding) {
    const rows = [["This model", figure(finding.audited)], ["A model that never saw them", figure(finding.reference)],
      ["Excess", finding.excess ? `${finding.excess.value.toFixed(2)} (${finding.excess.low.toFixed(2)} to ${finding.excess.high.toFixed(2)}), n = ${finding.excess.n}` : NOTHING_YET],
      ["Similar people asked", finding.controls.length ? `${finding.controls.length}${finding.notAsked ? `; no answer of ${finding.notAsked} others could change the verdict` : ""}` : NOTHING_YET]];
    this.panels.Why.replaceChildren(make("dl", {}, ...rows.flatMap(([name, words]) => [make("dt", { textContent: name }), make("dd", { textContent: words })])),
      make("p", { textContent: "Memorized: the record holds it, the model names it more often than the other model does, by more than 0.05 with the whole interval, and at most one in twenty similar people whom no model saw shows as much." }),
      make("p", { textContent: "Population knowledge: the whole interval of the excess lies within 0.05 of zero. Everything else is cannot conclude." }));
  }

  #addStep() {
    const answers = this.ready.models.filter((name) => this.answers[name]).map((name) => [name, this.answers[name].attributes.find((one) => one.name === this.focus)]);
    const level = this.ready.levels.find((one) => one.name === this.state.knowledge);
    const title = this.ready.attributes.find((one) => one.name === this.focus).title;
    const n = this.answers[answers[0][0]].known.facts;
    const [model, finding] = answers[0];
    this.taught?.answered({ patient: this.patient.pseudonym, title, facts: n, low: finding.audited.low, model });
    this.steps.push({ words: `${this.patient.pseudonym} · ${title} · ${level ? level.words : "facts by hand"} (${n} ${n === 1 ? "fact" : "facts"})`, answers });
    this.panels.Steps.replaceChildren(...this.steps.slice(-STEPS).map((step, place) => make("li", { value: Math.max(0, this.steps.length - STEPS) + place + 1 }, make("p", { textContent: step.words }),
      ...step.answers.map(([name, finding]) => make("div", { className: "rows" }, make("span", { textContent: name }), bar(finding.audited, "audited"), make("b", { textContent: figure(finding.audited) }))))));
  }
}

/** What a widget reads and hears changes of (anywidget's model), so that the map here is that of the main screen. */
class Shown {
  #values;
  #heard = {};

  constructor(values) {
    this.#values = values;
  }

  get(name) {
    return this.#values[name];
  }

  on(event, handler) {
    (this.#heard[event] ??= []).push(handler);
  }

  set(values) {
    Object.assign(this.#values, values);
    for (const name of Object.keys(values)) this.#heard[`change:${name}`]?.forEach((handler) => handler());
  }
}

/** A share with its interval, as a bar with whiskers. */
function bar(one, kind) {
  const space = "http://www.w3.org/2000/svg";
  const drawn = document.createElementNS(space, "svg");
  const draw = (tag, given) => { const made = document.createElementNS(space, tag); for (const [name, value] of Object.entries(given)) made.setAttribute(name, value); drawn.append(made); };
  for (const [name, value] of Object.entries({ viewBox: "0 0 200 16", class: `mark ${kind}`, "aria-hidden": "true", preserveAspectRatio: "none" })) drawn.setAttribute(name, value);
  draw("rect", { x: 0, y: 3, width: Math.max(1, 200 * one.value), height: 10, class: "value" });
  if (one.high > one.low) draw("path", { d: `M${200 * one.low} 8H${200 * one.high}M${200 * one.low} 4V12M${200 * one.high} 4V12`, class: "whisker" });
  draw("path", { d: "M0 15.5H200", class: "axis" });
  return drawn;
}
