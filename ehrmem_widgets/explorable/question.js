/**
 * Port of probes/exploration.py: one patient, one state of knowledge, one stream of ever better answers, with the same seeds, chunks and
 * stopping, in the same order. Left out: T1 (reconstruct), and k of facts dialled by hand, which would take everybody's records. Neighbours are looked for among the people of the page.
 */

import {
  ProductForm,
  STOPPED,
  SumForm,
  difference,
  fixed,
  halfWidth,
  leaksOfMany,
  rounded,
} from "./estimators.js";
import { CONTINUATIONS, CONTINUED_BY, embedContinued, embedSlots, findNeighbours, openMap } from "./neighbours.js";
import { CONTROLS, buildPrompt, opened, sameFactsOf, similar, stripOf, trueContinuation } from "./prompts.js";
import { generateState } from "./rng.js";
import { CANNOT_CONCLUDE, LEAK_MARGIN, Peers, judgePerson, judgement } from "./verdicts.js";

export const HORIZON = 64;
export const MOST_SAMPLES = 1024;
/** An answer is settled when the focus is known this well. */
export const HALF_WIDTH = 0.02;
const SHARED_SAMPLES = 128;
const CONTROL_SAMPLES = 8;
const CONTROLS_FIRST = 10;
const FIRST = 16;
const SHARED_CHUNK = 56;
const MOST_AT_ONCE = 256;
const LEAST = 64;
const FEWEST_EFFECTIVE = 10;
const SHOWN = 3;
const SHOWN_CODES = 40;

/**
 * All that an answer depends on.
 * @typedef {{patient: string, facts: import("./prompts.js").KnownFact[], knowledge: string|null, attributes: string[], focus: string,
 *   horizon: number, samples: number, seed: number, model: string}} State
 *   patient: a pseudonym; knowledge: the level that the facts are, null when dialled by hand; model: the audited model's name
 *
 * @typedef {{label: string, kind: string, sensitive: string|null, true: boolean}} ReadableEvent
 *
 * @typedef {{name: string, title: string, severity: number, held: boolean, audited: import("./estimators.js").Estimate,
 *   reference: import("./estimators.js").Estimate|null, excess: import("./estimators.js").Estimate|null, method: string,
 *   controls: [number, number][], notAsked: number, judgement: import("./verdicts.js").Judgement|null}} AttributeFinding
 *
 * @typedef {{model: string, known: {facts: number, k: number|null, n: number}, focus: string, horizon: number, prompt: string[],
 *   stripped: number, leftOut: number, attributes: AttributeFinding[], curve: import("./estimators.js").Curve|null,
 *   referenceCurve: import("./estimators.js").Curve|null, generated: ReadableEvent[][], truth: ReadableEvent[],
 *   effectiveSamples: number, warnings: string[], settled: boolean, neighbours: import("./neighbours.js").NeighbourFinding|null}} Answer
 */

/** A question that this model cannot be asked. */
export class CannotAnswer extends Error {}

/**
 * What questions need, made once: the packed records opened, and the models by name.
 * @param {object} packed what records.py packed @param {Object<string, object>} models as engine.js opens them
 */
export function openPage(packed, models) {
  const people = (some) => some.map((person) => opened(packed, person));
  return { packed, models, map: openMap(packed), controls: people(packed.controls), patients: people(packed.patients) };
}

/**
 * Ever better answers to one state by one audited model; the last is settled. Null between them marks a point at which the work can be
 * interrupted.
 * @param {ReturnType<typeof openPage>} page @param {State} state @returns {Generator<Answer|null>}
 */
export function* answers(page, state) {
  const question = new Question(page, state);
  yield* question.firstAnswers();
  yield question.answer;
  yield* question.neighbours();
  yield* question.refine();
  yield* question.compare();
  yield question.settled();
}

/**
 * The same by several audited models, side by side. The reference model answers once: what it said is told again to the others.
 * @param {ReturnType<typeof openPage>} page @param {State} state @param {string[]} names @returns {Generator<Answer|null>}
 */
export function* answersOfSeveral(page, state, names) {
  const reference = page.packed.reference?.name;
  const models = Object.create(page.models, reference ? { [reference]: { value: remembering(page.models[reference]) } } : {});
  const works = names.map((model) => answers({ ...page, models }, { ...state, model }));
  while (works.length) {
    for (const work of [...works]) {
      let next = work.next();
      for (; !next.done && next.value === null; next = work.next()) yield null;
      if (next.done) works.splice(works.indexOf(work), 1);
      else yield next.value;
    }
  }
}

/** The attribute to look at first: the most severe that the patient holds, or else the most severe of all. */
export function chooseFocus(held, names, severity) {
  const candidates = names.filter((name) => held.includes(name));
  return (candidates.length ? candidates : names).reduce((a, b) => (severity[b] > severity[a] ? b : a));
}

/** One state while it is being answered. */
export class Question {
  /** @param {ReturnType<typeof openPage>} page @param {State} state */
  constructor(page, state) {
    const { packed } = page;
    const audited = packed.audited.findIndex((one) => one.name === state.model);
    const asked = [packed.audited[audited], ...(packed.reference ? [packed.reference] : [])];
    Object.assign(this, { page, packed, state, audited });
    this.record = page.patients.find((one) => one.pseudonym === state.patient);
    /** By model, the audited one first: its vocabulary, and the model. */
    this.v = asked.map((one) => one.vocabulary);
    this.models = asked.map((one) => page.models[one.name]);
    this.columns = state.attributes.map((name) => packed.attributes.findIndex((one) => one.name === name));
    this.strip = stripOf(packed, this.v[0], this.columns);
    this.focusColumn = state.attributes.indexOf(state.focus);
    this.held = this.columns.map((place) => this.record.held[this.v[0]][place]);
    this.watches = this.v.map((v, m) => this.#watch(v, this.models[m].codes.length));
    this.prompts = this.v.map((v) => buildPrompt(packed, this.record, state.facts, v, this.strip));
    this.slots = this.prompts.map((prompt) => prompt.slots);
    const room = Math.min(...this.models.map((model, m) => model.contextLength - this.slots[m].length));
    if (room < 1) {
      const context = Math.min(...this.models.map((model) => model.contextLength));
      throw new CannotAnswer(
        `The facts make a prompt of ${this.slots[0].length} codes, and the model reads at most ${context}. ` +
          "Give the attacker fewer facts.",
      );
    }
    this.horizon = Math.min(state.horizon, room);
    this.sums = this.models.map((model, m) => new SumForm(model, this.slots[m], this.watches[m], this.horizon));
    this.products = this.models.map(
      (model, m) => new ProductForm(model, this.slots[m], this.watches[m][this.focusColumn], this.horizon),
    );
    this.ownLeaks = [];
    this.controlLeaks = [];
    this.notAsked = 0;
    this.reached = state.attributes.map((_, column) => this.#reached(column));
    const [prompt] = this.prompts;
    /** @type {Answer} */
    this.answer = {
      model: state.model,
      known: this.#known(),
      focus: state.focus,
      horizon: this.horizon,
      prompt: this.slots[0].map((slot) => (slot.length === 1 ? this.models[0].codes[slot[0]] : `one of ${slot.length}`)),
      stripped: prompt.stripped,
      leftOut: prompt.leftOut,
      attributes: [],
      curve: null,
      referenceCurve: null,
      generated: [],
      truth: trueContinuation(this.record, prompt, this.v[0], this.horizon).map((id) => this.#event(id, true)),
      effectiveSamples: Infinity,
      warnings: this.#warnings(),
      settled: false,
      neighbours: null,
    };
  }

  /** The first interval, from few samples, then the attribute in focus by both models, then the reference model. */
  *firstAnswers() {
    yield* this.sums[0].add(FIRST, this.#seed(0));
    const generated = this.sums[0].trajectories.slice(0, SHOWN).map((ids) => this.#readable(ids));
    this.#better({ generated, effectiveSamples: this.#effective(), attributes: this.#findings() });
    yield this.answer;
    const least = Math.min(LEAST, this.state.samples);
    yield* interleave(this.products.map((product) => product.add(least, this.#seed(1))));
    this.#update();
    yield this.answer;
    for (const sum of this.sums.slice(1)) yield* sum.add(FIRST, this.#seed(0));
    this.#update();
  }

  /** The rank of the patient's own record, and the place on the map, for the model whose map the page holds. */
  *neighbours() {
    const { map } = this.page;
    if (map?.model !== this.state.model) return;
    const query = embedSlots(this.models[0], this.slots[0]);
    const codes = this.sums[0].trajectories.slice(0, CONTINUATIONS).map((row) => row.slice(0, CONTINUED_BY));
    const led = embedContinued(this.models[0], this.slots[0], codes);
    this.#better({ neighbours: findNeighbours(map, query, this.record.pseudonym, led) });
    yield this.answer;
  }

  /** More samples until the attribute in focus is known to +-0.02, or the most samples are spent. */
  *refine() {
    for (let chunk = 1; ; chunk++) {
      const missing = this.#missing();
      const shared = Math.min(SHARED_SAMPLES, this.state.samples) - this.sums[0].n;
      if (!missing.length && shared <= 0) return;
      yield* interleave(missing.map(([form, size]) => form.add(size, this.#seed(2 * chunk + 1))));
      if (shared > 0) {
        const size = Math.min(shared, SHARED_CHUNK);
        yield* interleave(this.sums.map((sum) => sum.add(size, this.#seed(2 * chunk))));
      }
      this.#update();
      yield this.answer;
    }
  }

  /** The similar people whom no model saw. */
  controls() {
    const pool = this.packed.audited[this.audited].controls.map((place) => this.page.controls[place]);
    return similar(pool, this.record, this.prompts[0].facts, CONTROLS);
  }

  /** Ask the nearest of the similar people, and the others only where a verdict hangs on them. */
  *compare() {
    if (this.models.length < 2) return;
    const everybody = this.controls();
    const others = everybody.slice(CONTROLS_FIRST);
    yield* this.askControls(everybody.slice(0, CONTROLS_FIRST));
    this.notAsked = others.length;
    if (this.#hangsOn(others.length)) {
      const nearest = this.controlLeaks;
      yield* this.askControls(others);
      this.controlLeaks = this.controlLeaks.map((leaks, m) => [...nearest[m], ...leaks]);
      this.notAsked = 0;
    }
  }

  /** Put the same question about the patient and about other people to both models, all in the same way. */
  *askControls(others) {
    const leaks = [];
    yield* interleave(this.models.map((_, m) => this.#ask(m, others, leaks)));
    this.ownLeaks = leaks.map(([own]) => own);
    this.controlLeaks = leaks.map(([, ...rest]) => rest);
  }

  /** The last answer: with the controls and the verdicts. @returns {Answer} */
  settled() {
    const attributes = this.answer.attributes.map((finding, column) => ({
      ...finding,
      controls: (this.controlLeaks[0] ?? []).map((leaks, row) => [leaks[column], this.controlLeaks[1][row][column]]),
      notAsked: this.notAsked,
      judgement: finding.held ? this.#judge(column, finding, this.#peers(column)) : null,
    }));
    const { calibration } = this.packed.audited[this.audited];
    const warnings = [...this.answer.warnings, ...(calibration ? [calibration] : [])];
    return this.#better({ attributes, warnings, settled: true });
  }

  *#ask(m, others, leaks) {
    const { facts, knowledge } = this.state;
    const prompts = [this.slots[m]];
    for (const other of others) {
      const same = sameFactsOf(this.packed, other, this.record, facts, knowledge, this.v[m]);
      const { slots } = buildPrompt(this.packed, other, same, this.v[m], this.strip);
      prompts.push(slots.slice(0, this.models[m].contextLength - 1));
    }
    const asking = [this.models[m], prompts, this.watches[m], this.horizon, CONTROL_SAMPLES, this.#seed(0)];
    for (const found of leaksOfMany(...asking)) {
      if (found !== null) leaks[m] = found.means;
      yield null;
    }
  }

  /** Whether a verdict may depend on so many similar people who were not asked yet. */
  #hangsOn(left) {
    const verdict = (column, finding, asHigh) => {
      const peers = this.#peers(column);
      return this.#judge(column, finding, new Peers(peers.asHigh + asHigh, peers.n + left)).verdict;
    };
    return this.answer.attributes.some(
      (finding, column) => left > 0 && finding.held && verdict(column, finding, 0) !== verdict(column, finding, left),
    );
  }

  #judge(column, finding, peers) {
    const inWords = ({ value, low, high }) => rounded(value, low, high);
    const [value, low, high] = inWords(finding.audited);
    const shown = `the model names it with probability ${value} (${low} to ${high})`;
    const effective = this.answer.effectiveSamples;
    if (effective < FEWEST_EFFECTIVE) {
      const sentence =
        `the facts leave so much open that the answer rests on ${fixed(effective, 0)} samples ` +
        `(at least ${FEWEST_EFFECTIVE} needed). Make a value or date more precise, or take out a fact.`;
      return judgement(CANNOT_CONCLUDE, "too_open", sentence);
    }
    if (finding.reference === null || finding.excess === null) {
      const why = "this page holds no reference model that never saw the patient: it may be knowledge of a population. " +
        "'ehrmem report' compares with people never seen who have it, too";
      return judgement(CANNOT_CONCLUDE, "no_reference", `${shown}, and ${why}.`);
    }
    const reference = inWords(finding.reference);
    const against = `${reference[0]} (${reference[1]} to ${reference[2]})`;
    return judgePerson(finding.excess, peers, {
      margin: LEAK_MARGIN,
      shown: `${shown}, against ${against} from a model that never saw the patient`,
      planted: this.record.planted[this.audited],
      blind: this.reached[column],
    });
  }

  /** How many of the controls show as much excess, asked in exactly the same way. */
  #peers(column) {
    if (this.controlLeaks.length < 2) return null;
    const own = this.ownLeaks[0][column] - this.ownLeaks[1][column];
    const others = this.controlLeaks[0].map((leaks, row) => leaks[column] - this.controlLeaks[1][row][column]);
    return Peers.of(own, others, this.notAsked);
  }

  /** Why even a model that recites the record would not name the attribute; empty when it would. */
  #reached(column) {
    if (!this.held[column]) return "";
    const following = trueContinuation(this.record, this.prompts[0], this.v[0], this.record.events.length * 8);
    const at = following.findIndex((id) => this.watches[0][column][id]);
    if (at < 0) return "the record does not hold it after the known facts, so there is nothing left to give away";
    if (at < this.horizon) return "";
    return (
      `the record comes to it ${at + 1} codes after the known facts, beyond the horizon of ${this.horizon}. ` +
      "Ask with a longer horizon"
    );
  }

  #update() {
    const curves = this.products.filter((form) => form.n).map((form) => form.curve({ level: STOPPED }));
    const [curve = null, referenceCurve = null] = curves;
    this.#better({ attributes: this.#findings(), curve, referenceCurve, effectiveSamples: this.#effective() });
  }

  #findings() {
    const asked = this.sums.filter((form) => form.n);
    const sums = asked.map((form) => form.estimates({ level: STOPPED }));
    const gaps = asked.length === 2 ? asked[0].minus(asked[1], { level: STOPPED }) : null;
    return this.state.attributes.map((name, column) => {
      const { title, severity } = this.packed.attributes[this.columns[column]];
      const product = column === this.focusColumn && this.products[0].n > 0;
      const estimates = product
        ? this.products.filter((form) => form.n).map((form) => form.estimate({ level: STOPPED }))
        : sums.map((each) => each[column]);
      const [audited, reference = null] = estimates;
      let excess = null;
      if (reference !== null) excess = product || gaps === null ? difference(audited, reference) : gaps[column];
      const method = product ? "product form" : "sum form";
      const asking = { name, title, severity, held: this.held[column], audited, reference, excess, method };
      return { ...asking, controls: [], notAsked: 0, judgement: null };
    });
  }

  /** Where the attribute in focus is not yet known to +-0.02: the form, and about how many trajectories it needs. */
  #missing() {
    return this.products.flatMap((form) => {
      const needed = Math.max(LEAST, form.n * (halfWidth(form.estimate({ level: STOPPED })) / HALF_WIDTH) ** 2);
      const size = Math.min(16 * Math.ceil((needed - form.n) / 16), this.state.samples - form.n, MOST_AT_ONCE);
      return size > 0 ? [[form, size]] : [];
    });
  }

  #effective() {
    return this.prompts[0].exact ? Infinity : this.sums[0].effectiveSamples;
  }

  /** Of each attribute asked about, which ids give it away. */
  #watch(v, size) {
    return this.columns.map((place) => {
      const ids = this.packed.vocabularies[v].attributes[place].track ?? this.record.own[v][place];
      const track = new Uint8Array(size);
      for (const id of ids) track[id] = 1;
      return track;
    });
  }

  /** The seed of a chunk, the same for the audited and the reference model (common random numbers). */
  #seed(chunk) {
    return generateState([this.state.seed, chunk], 1)[0];
  }

  /** How many patients fit the facts; known for a knowledge level and the attributes asked by default. */
  #known() {
    const { knowledge, attributes } = this.state;
    const byDefault = this.packed.attributes.filter((one) => one.asked).map((one) => one.name);
    const counted = knowledge !== null && String(byDefault) === String(attributes);
    const k = counted ? this.record.k[knowledge] : null;
    return { facts: this.prompts[0].facts.length, k, n: this.packed.patientsInDataset };
  }

  #readable(ids) {
    const truth = new Set(
      this.answer.truth.filter(({ kind }) => kind !== "time" && kind !== "special").map(({ label }) => label),
    );
    const written = ids.filter((id) => id >= 0).slice(0, SHOWN_CODES);
    return written.map((id) => this.#event(id, false)).map((event) => ({ ...event, true: truth.has(event.label) }));
  }

  #event(id, isTrue) {
    const [label, kind, sensitive] = this.packed.vocabularies[this.v[0]].words[id];
    return { label, kind, sensitive, true: isTrue };
  }

  #warnings() {
    const warnings = [];
    if (this.horizon < this.state.horizon) {
      const context = this.models[0].contextLength;
      warnings.push(
        `The model reads ${context} codes at most: the horizon is ${this.horizon} instead of ${this.state.horizon}.`,
      );
    }
    const { attributes } = this.packed.vocabularies[this.v[0]];
    const silent = this.packed.attributes.filter(
      (_, place) => attributes[place].unknown && this.record.held[this.v[0]][place],
    );
    if (silent.length) {
      const titles = silent.map((one) => one.title).join(", ");
      warnings.push(`The record holds ${titles}, of which the model knows no code: that is not asked about.`);
    }
    if (this.models.length < 2) warnings.push("This page holds no reference model, so it calls no leak memorized.");
    return warnings;
  }

  #better(more) {
    this.answer = { ...this.answer, ...more };
    return this.answer;
  }
}

/** Run works to their ends, a step of each in turn; yields after each round, and once at least. */
function* interleave(works) {
  let going = works;
  do {
    going = going.filter((work) => !work.next().done);
    yield null;
  } while (going.length);
}

/** A model that says again what it said to the same question of the same state. */
function remembering(model) {
  const said = new Map();
  return {
    codes: model.codes,
    contextLength: model.contextLength,
    *generate(prompts, horizon, samples, { track, banned, seed }) {
      const key = JSON.stringify([prompts, horizon, samples, track.length, banned !== null, Number(seed)]);
      if (!said.has(key)) {
        said.set(key, { steps: [], more: model.generate(prompts, horizon, samples, { track, banned, seed }) });
      }
      const { steps, more } = said.get(key);
      for (let place = 0; ; place++) {
        if (place === steps.length) {
          const { done, value } = more.next();
          if (done) return;
          steps.push({ codes: value.codes.slice(), mass: value.mass.slice(), logWeight: value.logWeight.slice() });
        }
        yield steps[place];
      }
    },
  };
}
