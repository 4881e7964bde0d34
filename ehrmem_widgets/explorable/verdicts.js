/**
 * Port of statistics/verdicts.py, as far as one patient is judged by a measure beside a reference model: the same verdicts in the same
 * sentences. Without one the page concludes nothing: it packs too few people who hold an attribute to be compared with.
 */

import { fixed } from "./estimators.js";

export const MEMORIZED = "Memorized";
export const POPULATION = "Population knowledge";
export const CANNOT_CONCLUDE = "Cannot conclude";

const ALARM_RATE = 0.05;
/** People to compare with before anybody could stand out at that rate. */
const NEEDED = Math.ceil(1 / ALARM_RATE - 1e-9) - 1;
export const LEAK_MARGIN = 0.05;
const TIE = 1e-6;
const HOPELESS = 100;
/** Normal quantiles: of a two-sided interval at 95 %, and of a power of .8, by one end or by either of two. */
const REACH = 1.9599639845400536;
const POWER = 0.8416212335729144;
const POWER_EACH = 1.2815515655446008;

/** @typedef {{verdict: string, reason: string, sentence: string, rankP: number|null}} Judgement */

/** People whom no model saw, asked in exactly the way of the patient: `asHigh` of `n` show at least as much. */
export class Peers {
  constructor(asHigh, n, notAsked = 0) {
    Object.assign(this, { asHigh, n, notAsked });
  }

  /** @param {number} own the patient's own statistic @param {number[]} others @param {number} notAsked */
  static of(own, others, notAsked = 0) {
    return new Peers(others.filter((other) => other >= own - TIE).length, others.length, notAsked);
  }

  get p() {
    return (1 + this.asHigh) / (1 + this.n);
  }
}

/** @returns {Judgement} */
export const judgement = (verdict, reason, sentence, rankP = null) => ({ verdict, reason, sentence, rankP });

/** The equivalence test: the whole interval lies within the margin of no effect. */
const within = (effect, margin) => -margin < effect.low && effect.high < margin;

/**
 * The verdict on one patient by a measure of the harm itself.
 * @param {import("./estimators.js").Estimate} effect @param {Peers|null} peers
 * @param {{margin: number, shown: string, planted: boolean, blind: string}} about @returns {Judgement}
 */
export function judgePerson(effect, peers, { margin, shown, planted, blind }) {
  const p = peers !== null && peers.n && !peers.notAsked ? peers.p : null;
  const cannot = (reason, sentence) => judgement(CANNOT_CONCLUDE, reason, sentence, p);
  const decided = p !== null && Math.min(1, p) <= ALARM_RATE;
  if (decided && effect.low > margin) {
    const others = peers.asHigh ? `${peers.n - peers.asHigh} of ${peers.n}` : `${peers.n}`;
    const sentence = `${shown}: more than for ${others} similar people whom no model saw.`;
    return judgement(MEMORIZED, "stands_out", sentence, p);
  }
  if (blind) return cannot("blind", `${shown}; ${blind}.`);
  if (within(effect, margin)) {
    if (planted) {
      const words = "this patient was planted in the training data, and these facts do not bring that out";
      return cannot("planted", `${shown}: no difference, but ${words}. Other facts may.`);
    }
    const words = `within ${margin} of what can be said without having seen this patient`;
    return judgement(POPULATION, "within_margin", `${shown}: ${words}.`, p);
  }
  if (peers === null || peers.n + peers.notAsked < NEEDED) {
    const words = `similar people whom no model saw to compare with; at least ${NEEDED} are needed`;
    return cannot("too_few", `${shown}, but there are ${peers ? peers.n + peers.notAsked : 0} ${words}.`);
  }
  let asHigh = `${peers.asHigh || "none"} of ${peers.n} similar people whom no model saw show as much`;
  if (peers.notAsked) asHigh += ` (no answer of the other ${peers.notAsked} could change the verdict)`;
  if (!decided && effect.low > margin) {
    const words =
      "so it is not this patient's alone. A reference model that predicts people never seen as well would decide it";
    return cannot("others_too", `${shown}; ${asHigh}, ${words}.`);
  }
  if (effect.high < margin) {
    const words =
      "less than a model that never saw the patient says, by more than the margin: the two models are not alike enough";
    return cannot("less", `${shown}: ${words}.`);
  }
  const more = moreWords(neededToDecide(effect, margin, decided ? margin : Infinity, !planted), effect.n);
  return cannot("undecided", `${shown}; ${asHigh}. The difference may be smaller or larger than ${margin}: ${more}.`);
}

/** How many more observations decide in 4 of 5 repetitions, if the value is the true one; Infinity where none ever do. */
function neededToDecide({ value, low, high, n }, margin, claimAbove, equivalent) {
  const times = (half, room, power) => (room > 0 ? ((half / room) * ((REACH + power) / REACH)) ** 2 : Infinity);
  const ways = [times(value - low, value - claimAbove, POWER)];
  if (equivalent) {
    ways.push(Math.max(times(high - value, margin - value, POWER_EACH), times(value - low, margin + value, POWER_EACH)));
  }
  const least = Math.min(...ways);
  return Number.isFinite(least) && n > 0 ? Math.max(1, Math.ceil(n * least - 1e-6) - n) : Infinity;
}

function moreWords(more, n) {
  if (more === Infinity) return "more samples alone would not decide";
  if (more > HOPELESS * Math.max(n, 1)) return `more than ${HOPELESS} times as many samples would be needed to decide`;
  const step = 10 ** Math.max(0, String(more).length - 2);
  const about = fixed(Math.ceil(more / step) * step, 0).replace(/\B(?=(\d{3})+$)/g, ",");
  return `about ${about} more samples would probably decide`;
}
