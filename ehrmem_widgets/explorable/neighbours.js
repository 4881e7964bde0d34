/** Port of probes/embedding_store.py, among the people whose embeddings travel with the page (map.py). */
import { unpacker } from "./engine.js";
import { Generator } from "./rng.js";

const SHOWN = 10;
const MAP_NEIGHBOURS = 15;
const FILLS = 8;
const TIE = 1e-6;

/**
 * @typedef {{rank: number, n: number, own: number, nearest: number[], position: [number, number]|null}} NeighbourFinding
 *   own and nearest: rows of the map's points, -1 for a record that is not on it; n: people of the page
 */

/** The packed map opened, null where the page has none. @param {object} packed what records.py and map.py packed */
export function openMap(packed) {
  if (!packed.map) return null;
  const numbers = unpacker();
  const { model, people, rows, width, embeddings, points, kinds } = packed.map;
  return { model, people, rows, width, embeddings: numbers(embeddings), points: numbers(points), kinds: Uint8Array.from(kinds) };
}

/**
 * The rank of a patient's own record among the page's people by distance from a query, and where the query stands on the map: the mean of
 * its neighbours' places, weighted by nearness. A tie is no help to the attacker.
 * @param {ReturnType<typeof openMap>} map @param {Float64Array} query of unit length @returns {NeighbourFinding}
 */
export function findNeighbours(map, query, pseudonym) {
  const { people, rows, width, embeddings, points } = map;
  const likeness = people.map((_, place) => {
    let sum = 0;
    for (let i = 0; i < width; i++) sum += embeddings[place * width + i] * query[i];
    return sum;
  });
  const own = people.indexOf(pseudonym);
  const order = [...people.keys()].sort((a, b) => likeness[b] - likeness[a]);
  const around = order.filter((place) => rows[place] >= 0).slice(0, MAP_NEIGHBOURS);
  const weights = around.map((place) => 1 / (Math.sqrt(Math.max(0, 2 - 2 * likeness[place])) + 1e-3));
  const all = weights.reduce((sum, weight) => sum + weight, 0);
  const mean = (axis) => around.reduce((sum, place, i) => sum + weights[i] * points[2 * rows[place] + axis], 0) / all;
  return {
    rank: likeness.filter((one) => one >= likeness[own] - TIE).length,
    n: people.length,
    own: rows[own],
    nearest: order.slice(0, SHOWN).map((place) => rows[place]),
    position: around.length ? [mean(0), mean(1)] : null,
  };
}

/** The embedding of a partial record; what is known as one of several codes is filled at random, always in the same way. */
export function embedSlots(model, slots) {
  if (slots.every((slot) => slot.length === 1)) return model.embed([slots.map(([id]) => id)])[0];
  const random = new Generator(0);
  const filled = slots.map((slot) => random.choice(slot, FILLS));
  const found = model.embed(Array.from({ length: FILLS }, (_, row) => filled.map((column) => column[row])));
  const sum = found[0].map((_, i) => found.reduce((total, one) => total + one[i], 0));
  const length = Math.hypot(...sum);
  return sum.map((x) => x / length);
}
