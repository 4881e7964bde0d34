/** The part of the page that computes, beside what is seen: models and records are opened here, and questions answered, so that the page never waits. */
import { openModel } from "./engine.js";
import { factsOfLevel } from "./prompts.js";
import { answersOfSeveral, chooseFocus, openPage } from "./question.js";

const SLICE_MS = 25; // after so long, what the person did meanwhile is heard

/** Answer messages: `open` once, then `ask`; a newer question ends an older one. */
export function serve(scope) {
  let page = null;
  let newest = 0;
  const channel = new MessageChannel();
  const pause = () => new Promise((go) => { channel.port1.onmessage = go; channel.port2.postMessage(0); });
  const tell = (message) => scope.postMessage(message);

  function open({ texts, kernels }) {
    const packed = JSON.parse(texts.patients);
    const names = [...packed.audited, ...(packed.reference ? [packed.reference] : [])].map((one) => one.name);
    const models = {};
    names.forEach((name, place) => whenAsked(models, name, () => openModel(JSON.parse(texts.models[place]), { kernels })));
    page = openPage(packed, models);
    tell({
      kind: "ready",
      kernels: models[names[0]].kernels,
      levels: packed.levels,
      attributes: packed.attributes,
      models: packed.audited.map((one) => one.name),
      reference: packed.reference?.name ?? null,
      patients: page.patients.map((record) => shown(packed, record)),
      map: page.map && { model: page.map.model, points: page.map.points, kinds: page.map.kinds },
    });
  }

  /** What the page shows of a patient: each fact that can be dialled, and the facts of every knowledge level. */
  function shown(packed, record) {
    const v = packed.audited[0].vocabulary;
    const names = packed.attributes.map((one) => one.name);
    const severity = Object.fromEntries(packed.attributes.map((one) => [one.name, one.severity]));
    const asked = packed.attributes.filter((one) => one.asked).map((one) => one.name);
    const held = names.filter((name, place) => record.held[v][place]);
    const rows = record.events.map((event, place) => {
      const [label, kind, sensitive] = packed.codes[event.code];
      return { place, label, kind, sensitive, day: event.day, value: record.values[place], written: packed.forms[event.form].slots[v][0].length > 0 };
    });
    return {
      pseudonym: record.pseudonym, age: record.age, member: record.member[0], planted: record.planted[0], held, rows,
      focus: chooseFocus(held, asked, severity),
      levels: Object.fromEntries(packed.levels.map(({ name }) => [name, factsOfLevel(packed, name, record, v)])),
    };
  }

  async function ask({ number, state, names }) {
    newest = number;
    let began = performance.now();
    for (const answer of answersOfSeveral(page, state, names)) {
      if (answer !== null) tell({ kind: "answer", number, answer });
      if (performance.now() - began < SLICE_MS) continue;
      await pause();
      if (newest !== number) return;
      began = performance.now();
    }
    tell({ kind: "done", number });
  }

  scope.onmessage = async ({ data }) => {
    try {
      await { open, ask }[data.kind](data);
    } catch (error) {
      tell({ kind: "failed", number: data.number ?? 0, words: error.message });
    }
  };
}

/** A property that is made when it is first asked for: a model that nobody switches on is never opened. */
function whenAsked(object, name, make) {
  let made;
  Object.defineProperty(object, name, { enumerable: true, get: () => (made ??= make()) });
}
