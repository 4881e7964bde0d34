/**
 * Port of statistics/intervals.py and probes/leak.py, in float64 and under the same names. Where Python has an array of columns,
 * here is a list of columns (Float64Array each).
 */

export const CONFIDENCE = 0.95;
/** The level where sampling stops on the interval's width, so that it covers 95 % at the stop. */
export const STOPPED = 0.96;
const BISECTIONS = 32;
/** Of the normal distribution at (1 + level) / 2. */
const QUANTILES = new Map([
  [CONFIDENCE, 1.959963984540054],
  [STOPPED, 2.0537489106318225],
]);

export const CREDIT = 0.1;
export const TOP = 1 + CREDIT;
const SURVIVORS = 1e-6;
const ROWS_AT_ONCE = 512;

/**
 * A figure with its interval and the number of observations behind it.
 * @typedef {{value: number, low: number, high: number, n: number}} Estimate
 * @typedef {{value: Float64Array, low: Float64Array, high: Float64Array, n: number}} Curve
 * @typedef {{codes: Int32Array, mass: Float64Array|null, logWeight: Float64Array}} Step
 */

/** @param {Estimate} estimate @returns {number} */
export const halfWidth = ({ low, high }) => (high - low) / 2;

/**
 * Figures that belong together, with as many decimals: two, or four where all are below 0.01.
 * @param {...number} figures @returns {string[]}
 */
export function rounded(...figures) {
  const largest = Math.max(...figures.map(Math.abs));
  const shown = figures.map((figure) => fixed(figure, 0 < largest && largest < 0.01 ? 4 : 2));
  return shown.map((number) => (/^-[0.]*$/.test(number) ? number.slice(1) : number));
}

/** As Python writes f"{number:.2f}": a tie goes to the even digit, where toFixed takes the larger. */
export function fixed(number, decimals) {
  const shown = Math.abs(number).toFixed(decimals);
  const tie = Math.abs(number * 2 ** (decimals + 1)) % 2 === 1;
  const odd = tie && Number(shown.at(-1)) % 2 === 1;
  const even = odd ? (Math.abs(number) - 10 ** -decimals / 4).toFixed(decimals) : shown;
  return number < 0 || Object.is(number, -0) ? `-${even}` : even;
}

/**
 * The mean of one column of values in [0, top] with Gaffke's interval, cut to [0, 1].
 * @param {ArrayLike<number>} values @param {ArrayLike<number>|null} logWeights
 * @param {{top?: number, level?: number}} [options] @returns {Estimate}
 */
export function weightedMean(values, logWeights = null, { top = 1, level = CONFIDENCE } = {}) {
  const [estimate] = weightedMeans([values], logWeights, { top, level });
  return estimate;
}

/**
 * The same for several columns with the same weights.
 * @param {ArrayLike<number>[]} columns @param {ArrayLike<number>|null} logWeights
 * @param {{top?: number, level?: number}} [options] @returns {Estimate[]}
 */
export function weightedMeans(columns, logWeights = null, { top = 1, level = CONFIDENCE } = {}) {
  const equal = logWeights === null || spreadOf(logWeights) === 0;
  const share = equal ? null : sharesOf(logWeights);
  const effective = equal ? 0 : effectiveSampleSize(logWeights);
  const cut = (value) => clip(top * value, 0, 1);
  return columns.map((values) => {
    const n = values.length;
    const scaled = Float64Array.from(values, (value) => clip(value / top, 0, 1));
    if (share === null) {
      const [low, high] = gaffke(scaled, null, level);
      return { value: cut(total(scaled) / n), low: cut(low), high: cut(high), n };
    }
    const value = total(scaled, (x, i) => share[i] * x);
    if (effective < 1.5) return { value: cut(value), low: 0, high: 1, n };
    const squares = total(scaled, (x, i) => share[i] * (x - value) ** 2);
    const spread = total(scaled, (x, i) => share[i] ** 2 * (x - value) ** 2);
    const effectiveN = Math.min(effective, spread > 0 ? squares / spread : Infinity);
    const counts = Float64Array.from([...share, largestOf(share)], (one) => one * effectiveN);
    const [low, high] = gaffke(scaled, counts, level);
    return { value: cut(value), low: cut(low), high: cut(high), n };
  });
}

/**
 * Gaffke's interval for the mean of values in [0, 1]; see statistics/intervals.py for what it is and what it assumes.
 * @param {Float64Array} values @param {Float64Array|null} counts (n + 1): how many observations a value, and the extra one, stands for
 * @param {number} level @returns {[number, number]}
 */
export function gaffke(values, counts = null, level = CONFIDENCE) {
  return [1 - gaffkeUpper(values.map((value) => 1 - value), counts, level), gaffkeUpper(values, counts, level)];
}

function gaffkeUpper(values, counts, level) {
  const n = values.length;
  const gaps = new Float64Array(n + 1);
  for (let i = 0; i < n; i++) gaps[i] = 1 - values[i];
  if (gaps.every((gap) => gap === 0)) return 1;
  const all = counts === null ? n + 1 : total(counts);
  const target = QUANTILES.get(level);
  let low = -25;
  let high = Math.log(n + 2);
  for (let k = 0; k < BISECTIONS; k++) {
    const middle = (low + high) / 2;
    const pole = Math.exp(middle);
    let first = 0;
    let second = 0;
    let logs = 0;
    let product = 1; // one logarithm for 16 factors: none is below e^-25
    for (let i = 0; i <= n; i++) {
      const apart = gaps[i] + pole;
      const g = 1 / apart;
      if (counts === null) {
        first += g;
        second += g * g;
        product *= apart;
        if ((i & 15) === 15) {
          logs += Math.log(product);
          product = 1;
        }
      } else {
        first += counts[i] * g;
        second += counts[i] * g * g;
        logs += counts[i] * Math.log(apart);
      }
    }
    const mean = first / all;
    const deviance = 2 * (all * Math.log(mean) + logs + Math.log(product));
    const w = Math.sqrt(Math.max(deviance, 1e-300));
    const v = Math.sqrt(Math.max(second / mean ** 2 - all, 1e-300));
    if (w + Math.log(v / w) / w > target) low = middle;
    else high = middle;
  }
  const pole = Math.exp((low + high) / 2);
  const mean = total(gaps, (gap, i) => (counts === null ? 1 : counts[i]) / (gap + pole)) / all;
  return clip(1 + pole - 1 / mean, 0, 1);
}

/**
 * The mean of a - b over pairs of values in [0, top] drawn with the same random numbers.
 * @param {ArrayLike<number>} a @param {ArrayLike<number>} b @param {{top?: number, level?: number}} [options] @returns {Estimate}
 */
export function pairedDifference(a, b, { top = 1, level = CONFIDENCE } = {}) {
  const apart = Float64Array.from(a, (one, i) => one - b[i]);
  const [low, high] = gaffke(apart.map((one) => clip((one / top + 1) / 2, 0, 1)), null, level);
  const back = (end) => clip(top * (2 * end - 1), -1, 1);
  return { value: total(apart) / apart.length, low: back(low), high: back(high), n: apart.length };
}

/** @param {ArrayLike<number>} logWeights @returns {number} (sum w)^2 / sum w^2 */
export function effectiveSampleSize(logWeights) {
  const most = largestOf(logWeights);
  const weights = Float64Array.from(logWeights, (one) => Math.exp(one - most));
  return total(weights) ** 2 / total(weights, (one) => one * one);
}

/** @param {Estimate} a @param {Estimate} b @returns {Estimate} a - b with an interval made of both (MOVER) */
export function difference(a, b) {
  const value = a.value - b.value;
  const low = value - Math.hypot(a.value - a.low, b.high - b.value);
  const high = value + Math.hypot(a.high - a.value, b.value - b.low);
  return { value, low: Math.max(-1, low), high: Math.min(1, high), n: Math.min(a.n, b.n) };
}

/** @param {number} leak @param {number} probability @returns {number|null} n of (n, p)-extraction; null for no leak */
export function queriesNeeded(leak, probability) {
  if (leak <= 0) return null;
  if (leak >= 1) return 1;
  const queries = Math.log1p(-probability) / Math.log1p(-leak);
  return Math.max(1, Math.ceil(queries * (1 - 1e-12)));
}

/** The leaks of P prompts and A attributes: raw[p][a] and bounded[p][a] are columns of S trajectories, as is logWeights[p]. */
export class Leaks {
  /** @param {Float64Array[][]} raw @param {Float64Array[][]} bounded @param {Float64Array[]} logWeights */
  constructor(raw, bounded, logWeights) {
    Object.assign(this, { raw, bounded, logWeights });
  }

  /** @returns {number} trajectories of each prompt */
  get samples() {
    return this.logWeights[0].length;
  }

  /** @returns {number[][]} [p][a] the leak probabilities, by the raw values */
  get means() {
    return this.raw.map((columns, p) => {
      const share = sharesOf(this.logWeights[p]);
      return columns.map((values) => total(values, (x, i) => share[i] * x));
    });
  }

  /** @returns {Estimate[][]} [p][a] the mean of the raw values (cut to the interval) with the bounded values' interval */
  intervals({ level = CONFIDENCE } = {}) {
    const means = this.means;
    return this.bounded.map((columns, p) =>
      weightedMeans(columns, this.logWeights[p], { top: TOP, level }).map((found, a) => ({
        ...found,
        value: clip(means[p][a], found.low, found.high),
      })),
    );
  }

  /** @param {Leaks} other @returns {Estimate[][]} [p][a] the difference to another model's leaks on the same prompts and numbers */
  minus(other, { level = CONFIDENCE } = {}) {
    const mine = this.intervals({ level });
    const theirs = other.intervals({ level });
    return mine.map((row, p) => {
      const paired =
        spreadOf(this.logWeights[p]) === 0 && spreadOf(other.logWeights[p]) === 0 && this.samples === other.samples;
      return row.map((estimate, a) => {
        if (!paired) return difference(estimate, theirs[p][a]);
        const found = pairedDifference(this.bounded[p][a], other.bounded[p][a], { top: TOP, level });
        return { ...found, value: clip(estimate.value - theirs[p][a].value, found.low, found.high) };
      });
    });
  }

  /** @param {Leaks} more trajectories of another round of the same prompts @returns {Leaks} */
  withMore(more) {
    const columns = (mine, others) => mine.map((row, p) => row.map((one, a) => joined(one, others[p][a])));
    return new Leaks(
      columns(this.raw, more.raw),
      columns(this.bounded, more.bounded),
      this.logWeights.map((one, p) => joined(one, more.logWeights[p])),
    );
  }
}

/** The sum form (SCOPE) for several attributes over one set of unmasked trajectories, which can be shown as they are. */
export class SumForm {
  /** @param {object} model @param {number[][]} prompt @param {Uint8Array[]} track one a group @param {number} horizon */
  constructor(model, prompt, track, horizon) {
    Object.assign(this, { model, prompt, track, horizon });
    const nothing = () => track.map(() => new Float64Array(0));
    this.leaks = new Leaks([nothing()], [nothing()], [new Float64Array(0)]);
    /** @type {number[][]} codes, -1 once ended */
    this.trajectories = [];
  }

  get n() {
    return this.leaks.samples;
  }

  get effectiveSamples() {
    return this.n ? effectiveSampleSize(this.leaks.logWeights[0]) : 0;
  }

  /** Sample more trajectories; yields after each step. @param {number} samples @param {number} seed */
  *add(samples, seed) {
    for (const found of sumForms(this.model, [this.prompt], this.track, this.horizon, samples, seed)) {
      if (found === null) {
        yield null;
        continue;
      }
      this.leaks = this.leaks.withMore(found.leaks);
      this.trajectories.push(...found.codes[0]);
    }
  }

  /** @returns {Estimate[]} the leak probability of each attribute */
  estimates({ level = CONFIDENCE } = {}) {
    return this.leaks.intervals({ level })[0];
  }

  /** @param {number} attribute @returns {Estimate} */
  estimate(attribute, { level = CONFIDENCE } = {}) {
    return this.estimates({ level })[attribute];
  }

  /** @param {SumForm} other @returns {Estimate[]} */
  minus(other, { level = CONFIDENCE } = {}) {
    const n = Math.min(this.n, other.n);
    return this.leaks.minus(other.leaks, { level })[0].map((estimate) => ({ ...estimate, n }));
  }
}

/** The product form (REACH) for one attribute, and the whole curve P(leak within t) from one pass. */
export class ProductForm {
  /** @param {object} model @param {number[][]} prompt @param {Uint8Array} codes the attribute's @param {number} horizon */
  constructor(model, prompt, codes, horizon) {
    Object.assign(this, { model, prompt, codes, horizon });
    /** 1 - survival: by step, a column of trajectories. */
    this.columns = Array.from({ length: horizon }, () => new Float64Array(0));
    this.logWeights = new Float64Array(0);
  }

  get n() {
    return this.logWeights.length;
  }

  /** As SumForm.add. */
  *add(samples, seed) {
    const leaks = [];
    const surviving = new Float64Array(samples).fill(1);
    let logWeights = new Float64Array(samples);
    const asked = { track: [this.codes], banned: this.codes, seed };
    for (const step of this.model.generate([this.prompt], this.horizon, samples, asked)) {
      for (let s = 0; s < samples; s++) surviving[s] *= Math.fround(1 - clip(step.mass[s], 0, 1)); // as float32, like Python
      leaks.push(surviving.map((one) => 1 - one));
      logWeights = step.logWeight;
      yield null;
      if (largestOf(surviving) < SURVIVORS) break;
    }
    this.columns = this.columns.map((column, t) => joined(column, leaks[Math.min(t, leaks.length - 1)]));
    this.logWeights = joined(this.logWeights, logWeights);
  }

  /** @returns {Estimate} the leak probability within the horizon */
  estimate({ level = CONFIDENCE } = {}) {
    return weightedMean(this.columns.at(-1), this.logWeights, { level });
  }

  /** @returns {Curve} P(leak within t) for each t */
  curve({ level = CONFIDENCE } = {}) {
    const found = weightedMeans(this.columns, this.logWeights, { level });
    const of = (key) => Float64Array.from(found, (one) => one[key]);
    return { value: of("value"), low: of("low"), high: of("high"), n: this.n };
  }
}

/**
 * The sum form for many prompts at once: yields null after each step and at last the leaks of all.
 * @returns {Generator<null|Leaks>}
 */
export function* leaksOfMany(model, prompts, track, horizon, samples, seed) {
  const keys = prompts.map((prompt) => JSON.stringify(prompt));
  const unique = new Map();
  keys.forEach((key, place) => unique.has(key) || unique.set(key, place));
  const asked = [...unique.values()];
  const raw = [];
  const bounded = [];
  const logWeights = [];
  for (const rows of inLikeForms(asked.map((place) => prompts[place]), samples)) {
    const places = rows.map((row) => asked[row]);
    for (const found of sumForms(model, places.map((p) => prompts[p]), track, horizon, samples, seed)) {
      if (found === null) {
        yield null;
        continue;
      }
      places.forEach((place, row) => {
        raw[place] = found.leaks.raw[row];
        bounded[place] = found.leaks.bounded[row];
        logWeights[place] = found.leaks.logWeights[row];
      });
    }
  }
  const each = (rows) => keys.map((key) => rows[unique.get(key)]);
  yield new Leaks(each(raw), each(bounded), each(logWeights));
}

/** Null after each step, and then the leaks, and the codes [p][s][t]. */
function* sumForms(model, prompts, track, horizon, samples, seed) {
  const [P, S, A] = [prompts.length, samples, track.length];
  const columns = () => prompts.map(() => track.map(() => new Float64Array(S)));
  const raw = columns();
  const credit = columns();
  const hits = new Uint8Array(P * S * A);
  const spent = new Uint8Array(P * S * A); // no credit any more
  const late = columns(); // hit since then
  const codes = prompts.map(() => Array.from({ length: S }, () => []));
  let logWeight = new Float64Array(P * S);
  for (const step of model.generate(prompts, horizon, samples, { track, banned: null, seed })) {
    for (let p = 0, row = 0, i = 0; p < P; p++) {
      for (let s = 0; s < S; s++, row++) {
        const emitted = step.codes[row];
        for (let a = 0; a < A; a++, i++) {
          const mass = hits[i] ? 0 : step.mass[i];
          raw[p][a][s] += mass;
          if (credit[p][a][s] + mass > CREDIT) spent[i] = 1;
          if (!spent[i]) credit[p][a][s] += mass;
          if (!hits[i] && emitted >= 0 && track[a][emitted]) {
            hits[i] = 1;
            if (spent[i]) late[p][a][s] = 1;
          }
        }
        codes[p][s].push(emitted);
      }
    }
    logWeight = step.logWeight;
    yield null;
  }
  const bounded = credit.map((row, p) => row.map((column, a) => column.map((one, s) => one + late[p][a][s])));
  const logWeights = prompts.map((_, p) => logWeight.slice(p * S, (p + 1) * S));
  yield { leaks: new Leaks(raw, bounded, logWeights), codes };
}

/** Places of prompts that can be continued together: as many slots after the first open one, of like length. */
export function* inLikeForms(prompts, samples) {
  const forms = new Map();
  prompts.forEach((prompt, place) => {
    const open = prompt.findIndex((slot) => slot.length > 1);
    const form = open < 0 ? 0 : prompt.length - open;
    forms.set(form, [...(forms.get(form) ?? []), place]);
  });
  const size = Math.max(1, Math.floor(ROWS_AT_ONCE / samples));
  for (const places of forms.values()) {
    places.sort((a, b) => prompts[a].length - prompts[b].length);
    for (let start = 0; start < places.length; start += size) yield places.slice(start, start + size);
  }
}

/** @param {number} value @param {number} low @param {number} high @returns {number} */
export const clip = (value, low, high) => Math.min(Math.max(value, low), high);

/** A sum, of the values themselves or of what is made of each. */
function total(values, of = (value) => value) {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += of(values[i], i);
  return sum;
}

function largestOf(values) {
  let most = -Infinity;
  for (let i = 0; i < values.length; i++) if (values[i] > most) most = values[i];
  return most;
}

const spreadOf = (values) => largestOf(values) + largestOf(Float64Array.from(values, (value) => -value));

function sharesOf(logWeights) {
  const most = largestOf(logWeights);
  const weights = Float64Array.from(logWeights, (one) => Math.exp(one - most));
  const sum = total(weights);
  return weights.map((one) => one / sum);
}

function joined(a, b) {
  const both = new Float64Array(a.length + b.length);
  both.set(a);
  both.set(b, a.length);
  return both;
}
