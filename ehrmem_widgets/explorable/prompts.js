/**
 * Port of attacker/facts.py, attacker/prompt.py, cohort/time_codes.py and probes/controls.py for packed records, under the same names.
 * A code is an id of a vocabulary here, -1 where the vocabulary lacks it; `v` is the vocabulary's place in what records.py packed.
 */

export const AGE = -1;
export const BETWEEN = -2;
export const CONTROLS = 40;

/** The precisions, in the order in which records.py packs the slots. */
const VALUES = ["exact", "coarse", "unknown"];

/**
 * @typedef {{place: number, value: "exact"|"coarse"|"unknown", date: "exact"|"day"|"week"|"month"|"unknown"}} KnownFact
 * @typedef {{form: number, code: number, day: number|null, second: number|null}} PackedEvent  day: since 1970; second: of the day
 * @typedef {{slots: number[][], places: number[], facts: KnownFact[], stripped: number, leftOut: number, last: number, exact: boolean}} Prompt
 */

/** @param {number} place @param {string} value @param {string} date @returns {KnownFact} */
export const knownFact = (place, value = "exact", date = "exact") => ({ place, value, date });

/**
 * A packed record with its events one by one.
 * @param {object} packed what records.py packed @param {object} person one of its patients or controls
 */
export function opened(packed, person) {
  let seconds = 0;
  const events = person.forms.map((form, place) => {
    const after = person.times[place];
    const { code } = packed.forms[form];
    if (after === null) return { form, code, day: null, second: null };
    seconds += after;
    const days = Math.floor(seconds / 86400);
    return { form, code, day: person.start + days, second: seconds - days * 86400 };
  });
  return { ...person, events, codes: new Set(events.map((event) => event.code)) };
}

/**
 * The known facts of a knowledge level that the page offers (packed.levels).
 * @returns {KnownFact[]}
 */
export function factsOfLevel(packed, name, record, v) {
  const fixed = record.events.flatMap((event, place) => (event.day === null ? [knownFact(place)] : []));
  const age = record.age === null ? [] : [knownFact(AGE)];
  const onTheDay = (places, value = "exact") => places.map((place) => knownFact(place, value, "day"));
  const { visit, labs } = record;
  if (name === "nothing") return [];
  if (name === "age_sex") return [...age, ...record.sex.map((place) => knownFact(place))];
  if (name === "demographics") return [...age, ...fixed];
  if (name === "one_lab") return [...age, ...fixed, ...onTheDay([...visit, ...labs.slice(0, 1)])];
  if (name === "lab_dates") return [...age, ...fixed, ...onTheDay(visit), ...onTheDay(labs, "unknown")];
  if (name === "lab_values") return [...age, ...fixed, ...onTheDay([...visit, ...labs])];
  const [withAge, last] = record.first[v][name];
  const written = record.events.flatMap((event, place) =>
    place <= last && isWritten(packed, event, v) ? [knownFact(place)] : [],
  );
  return [...(withAge ? [knownFact(AGE)] : []), ...written];
}

/** As much of another record as is known of a patient. @returns {KnownFact[]} */
export function sameFactsOf(packed, other, record, facts, knowledge, v) {
  if (knowledge !== null) return factsOfLevel(packed, knowledge, other, v);
  const places = (one, dated) => one.events.flatMap((event, place) => ((event.day !== null) === dated ? [place] : []));
  return facts.flatMap((fact) => {
    if (fact.place === AGE) return other.age === null ? [] : [fact];
    const dated = record.events[fact.place].day !== null;
    const number = places(record, dated).indexOf(fact.place);
    const others = places(other, dated);
    return number < others.length ? [{ ...fact, place: others[number] }] : [];
  });
}

/**
 * The n people of a pool most like a patient in what is known of the patient; the patient never among them (ControlPool.similar).
 * @param {object[]} pool opened records, in Python's order
 */
export function similar(pool, record, facts, n = CONTROLS) {
  const known = new Set(facts.filter((fact) => fact.place !== AGE).map((fact) => record.events[fact.place].code));
  const withAge = record.age !== null && facts.some((fact) => fact.place === AGE);
  const others = pool.filter((other) => other.pseudonym !== record.pseudonym);
  const likeness = new Map(
    others.map((other) => {
      const shared = [...known].filter((code) => other.codes.has(code)).length / Math.max(known.size, 1);
      const apart = other.age === null ? 1 : Math.abs(other.age - record.age) / 40;
      return [other, withAge ? shared - apart : shared];
    }),
  );
  return others.sort((a, b) => likeness.get(b) - likeness.get(a)).slice(0, n);
}

/**
 * The codes and the age that a question about these attributes withholds.
 * @param {number[]} attributes their places in packed.attributes @returns {{codes: Set<number>, age: boolean}}
 */
export function stripOf(packed, v, attributes) {
  const asked = attributes.map((place) => packed.vocabularies[v].attributes[place]);
  return { codes: new Set(asked.flatMap((one) => one.strip)), age: asked.some((one) => one.stripsAge) };
}

/** The prompt that known facts make. @param {{codes: Set<number>, age: boolean}} strip @returns {Prompt} */
export function buildPrompt(packed, record, facts, v, strip) {
  const { opening, statics, gaps } = packed.vocabularies[v];
  const slots = opening.map((code) => [code]);
  const places = opening.map(() => BETWEEN);
  const used = [];
  let stripped = 0;
  let leftOut = 0;
  let before = null;
  const add = (more, place) => more.forEach((slot) => slots.push(slot) && places.push(place));
  for (const fact of [...facts].sort((a, b) => a.place - b.place)) {
    const withheld = fact.place === AGE ? strip.age : strip.codes.has(record.events[fact.place].code);
    if (fact.place === AGE) {
      const age = packed.ages[record.ageForm][v][VALUES.indexOf(fact.value)];
      if (withheld) stripped += 1;
      else if (age.length) {
        add(age, AGE);
        used.push(fact);
      } else if (fact.value !== "unknown") leftOut += 1;
      continue;
    }
    if (withheld) {
      stripped += 1;
      continue;
    }
    const event = record.events[fact.place];
    const written = packed.forms[event.form].slots[v][VALUES.indexOf(fact.value)];
    if (!written.length || (event.day === null && !statics)) {
      leftOut += 1;
      continue;
    }
    if (event.day !== null) {
      if (before !== null) add(gapSlots(before, [event, fact], gaps), BETWEEN);
      before = [event, fact];
    }
    add(written, fact.place);
    used.push(fact);
  }
  const last = Math.max(-1, ...used.map((fact) => fact.place));
  return { slots, places, facts: used, stripped, leftOut, last, exact: slots.every((slot) => slot.length === 1) };
}

/** The record's codes after the last event of its prompt, at most horizon of them. @returns {number[]} */
export function trueContinuation(record, prompt, v, horizon) {
  const { ids, eventOf } = record.sequence[v];
  let start = prompt.slots.length; // no event known: after the start code and perhaps the age
  if (eventOf.some((place) => 0 <= place && place <= prompt.last)) {
    start = eventOf.findLastIndex((place) => 0 <= place && place <= prompt.last) + 1;
  }
  return ids.slice(start, start + horizon);
}

/** Whether a model reads the event at all. */
function isWritten(packed, event, v) {
  return packed.forms[event.form].slots[v][0].length > 0 && (event.day !== null || packed.vocabularies[v].statics);
}

function gapSlots([eventA, factA], [eventB, factB], gaps) {
  if (gaps === null) return [];
  const known = (codes) => codes.filter((code) => code >= 0);
  const true_ = gapBetween(gaps, eventA, eventB);
  if (!true_.length) return [];
  if ((factA.date === "exact" && factB.date === "exact") || true_.length > 1) return known(true_).map((code) => [code]);
  const a = daysAllowed(eventA.day, factA.date);
  const b = daysAllowed(eventB.day, factB.date);
  const allowed = known(a === null || b === null ? gaps.codes : gapsFitting(gaps, a, b));
  return allowed.length ? [allowed] : [];
}

/** The first and last day that a date may be; null: any. Days since 1970, which began on a Thursday. */
export function daysAllowed(day, precision) {
  if (precision === "unknown") return null;
  if (precision === "week") {
    const monday = day - ((((day + 3) % 7) + 7) % 7);
    return [monday, monday + 6];
  }
  if (precision === "month") {
    const date = new Date(day * 86400e3);
    const [year, month] = [date.getUTCFullYear(), date.getUTCMonth()];
    return [Date.UTC(year, month, 1) / 86400e3, Date.UTC(year, month + 1, 0) / 86400e3];
  }
  return [day, day];
}

/** GapRule.between: of this kit's own codes, or of codes by their length in days. */
function gapBetween(gaps, before, now) {
  const days = now.day - before.day;
  const seconds = now.second - before.second;
  if (gaps.calendar) {
    const { withinADay, betweenDays } = gaps.calendar;
    const [steps, amount] = days > 0 ? [betweenDays, days] : [withinADay, seconds / 60];
    const step = steps.findLast(([, first]) => amount >= first);
    return step ? [step[0]] : [];
  }
  const lasts = (days * 86400 + seconds) / 86400;
  const place = gaps.lengths.findLastIndex(([low]) => low <= lasts);
  if (lasts <= 0 || place < 0) return [];
  const [low, high] = gaps.lengths[place];
  const code = gaps.codes[place];
  if (place === gaps.repeat) return Array(Math.max(1, halfToEven(lasts / low))).fill(code);
  return low === high || lasts < (high ?? Infinity) ? [code] : [];
}

/** GapRule.fitting: every code that fits a gap from some time within the first days to some time within the last. */
function gapsFitting(gaps, before, now) {
  const shortest = now[0] - before[1];
  const longest = now[1] - before[0];
  if (gaps.calendar) {
    const { withinADay, betweenDays } = gaps.calendar;
    const fits = ([, first], place) => first <= longest && (betweenDays[place + 1]?.[1] ?? Infinity) > Math.max(0, shortest);
    return [...(shortest <= 0 ? withinADay : []), ...betweenDays.filter(fits)].map(([code]) => code);
  }
  const least = Math.max(0, shortest - 1);
  return gaps.codes.filter((_, place) => {
    const end = gaps.lengths[place + 1]?.[0] ?? Infinity;
    return gaps.lengths[place][0] <= longest + 1 && end > least;
  });
}

/** As Python rounds to a whole number. */
function halfToEven(number) {
  const below = Math.floor(number);
  return number - below === 0.5 ? below + (below % 2) : Math.round(number);
}
