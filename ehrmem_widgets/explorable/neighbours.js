/** Port of probes/embedding_store.py and probes/prompt_embeddings.py, among the people whose embeddings travel with the page (map.py). */
import { unpacker } from "./engine.js";
import { Generator } from "./rng.js";

const SHOWN = 10;
const MAP_NEIGHBOURS = 15;
const FILLS = 8;
export const CONTINUATIONS = 3;
export const CONTINUED_BY = 32;
const TIE = 1e-6;

/**
 * @typedef {{rank: number, continuedRank: number|null, n: number, own: number, nearest: number[], position: [number, number]|null, ledTo: [number, number][]}} NeighbourFinding
 *   own and nearest: rows of the map's points, -1 for a record that is not on it; n: people of the page
 */

/** The packed map opened, null where the page has none. @param {object} packed what records.py and map.py packed */
export function openMap(packed) {
  if (!packed.map) return null;
  const numbers = unpacker();
  const { model, people, rows, width, centre, embeddings, points, kinds } = packed.map;
  return { model, people, rows, width, centre: numbers(centre), embeddings: numbers(embeddings), points: numbers(points), kinds: Uint8Array.from(kinds) };
}

/**
 * The rank of a patient's own record among the page's people by distance from a query, and where the query stands on the map: the mean of
 * its neighbours' places, weighted by nearness; and the same by the nearest of the model's own continuations. A tie is no help to the attacker.
 * @param {ReturnType<typeof openMap>} map @param {Float64Array} query @param {string} pseudonym @param {Float64Array[]} led embeddings of the
 * continuations @returns {NeighbourFinding}
 */
export function findNeighbours(map, query, pseudonym, led) {
  const { people, rows } = map;
  const own = people.indexOf(pseudonym);
  const rankBy = (likeness) => likeness.filter((one) => one >= likeness[own] - TIE).length;
  const likeness = likenessTo(map, query);
  const byEach = led.map((one) => likenessTo(map, one));
  return {
    rank: rankBy(likeness),
    continuedRank: led.length ? rankBy(likeness.map((_, place) => Math.max(...byEach.map((one) => one[place])))) : null,
    n: people.length,
    own: rows[own],
    nearest: nearestFirst(likeness).slice(0, SHOWN).map((place) => rows[place]),
    position: placeOnMap(map, likeness),
    ledTo: byEach.map((one) => placeOnMap(map, one)).filter(Boolean),
  };
}

const nearestFirst = (likeness) => [...likeness.keys()].sort((a, b) => likeness[b] - likeness[a]);

/** Cosine between a query and each person's record, less what all records share. */
function likenessTo({ people, width, embeddings, centre }, query) {
  const left = Array.from(query, (x, i) => x - centre[i]);
  const length = Math.hypot(...left) || 1;
  return people.map((_, place) => left.reduce((sum, x, i) => sum + embeddings[place * width + i] * x, 0) / length);
}

function placeOnMap({ rows, points }, likeness) {
  const around = nearestFirst(likeness).filter((place) => rows[place] >= 0).slice(0, MAP_NEIGHBOURS);
  if (!around.length) return null;
  const weights = around.map((place) => 1 / (Math.sqrt(Math.max(0, 2 - 2 * likeness[place])) + 1e-3));
  const all = weights.reduce((sum, weight) => sum + weight, 0);
  const mean = (axis) => around.reduce((sum, place, i) => sum + weights[i] * points[2 * rows[place] + axis], 0) / all;
  return [mean(0), mean(1)];
}

/** The embeddings of a prompt continued by each of these codes, its open slots filled as `embedSlots` fills them. */
export function embedContinued(model, slots, codes) {
  const heads = filled(slots, codes.length);
  return codes.length ? model.embed(codes.map((row, place) => [...heads[place], ...Array.from(row).filter((id) => id >= 0)])) : [];
}

/** Rows of a prompt's ids; what is known as one of several codes is filled at random, always in the same way. */
function filled(slots, rows) {
  const random = new Generator(0);
  const columns = slots.map((slot) => random.choice(slot, rows));
  return Array.from({ length: rows }, (_, row) => columns.map((column) => column[row]));
}

/** The embedding of a partial record, the mean over several fillings. */
export function embedSlots(model, slots) {
  const found = model.embed(filled(slots, slots.every((slot) => slot.length === 1) ? 1 : FILLS));
  const sum = found[0].map((_, i) => found.reduce((total, one) => total + one[i], 0));
  const length = Math.hypot(...sum);
  return sum.map((x) => x / length);
}
