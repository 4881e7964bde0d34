/** Small models that answer in the browser as blackbox/folder.py does in Python: the same draws, weights and masses. */
import { Generator } from "./rng.js";

const TILE = 64; // rows that go through the layers together: their numbers stay in the processor's cache
const PAGE = 16384; // floats of a page of wasm memory

/**
 * @param {object} packed what pack.py made
 * @param {{kernels?: "wasm"|"js"}} options which kernels; by default wasm, or plain JavaScript where it may not run
 * @returns {Model}
 */
export function openModel(packed, { kernels } = {}) {
  const fast = kernels === "js" ? null : wasmKernels(packed.kernels, kernels === "wasm");
  return new Model(packed, fast ?? jsKernels());
}

/**
 * A prompt: one array a place, of the ids that are allowed there (Python: SlotIds).
 * @typedef {number[][]} Prompt
 *
 * As blackbox.protocol.Step, row by row as numpy's arrays.
 * @typedef {{codes: Int32Array, mass: Float64Array|null, logWeight: Float64Array}} Step
 */

/** One model that can be asked; made by openModel. Questions may overlap. */
export class Model {
  #memory;
  #kernels;
  #layers;
  #scratch;

  constructor(packed, { memory, name, ...kernels }) {
    this.name = packed.name;
    /** @type {string[]} */
    this.codes = packed.codes;
    /** @type {number} */
    this.contextLength = packed.contextLength;
    /** @type {number[]} ids of the codes that end a record */
    this.stops = packed.stops;
    /** @type {"wasm"|"js"} */
    this.kernels = name;
    this.#memory = memory;
    this.#kernels = kernels;
    this.#layers = unpack(packed, memory);
    const { hidden, heads, width, blocks, head } = this.#layers;
    const room = (...columns) => memory.take(TILE * Math.max(...columns)).at;
    this.#scratch = {
      states: room(hidden),
      input: room(hidden, heads * width, ...blocks.map((block) => block.down.inner)),
      wide: room(...blocks.flatMap((block) => [block.queryKeyValue.columns, block.up.columns])),
      output: room(...blocks.flatMap((block) => [block.attentionOut.columns, block.down.columns])),
      logits: room(head.columns),
      weights: memory.take(heads * this.contextLength).at,
    };
  }

  /** The size of its memory: weights, and what the questions at work need. */
  get bytes() {
    return this.#memory.floats.byteLength;
  }

  /**
   * Samples continuations, one step at a time (Python: FolderModel.generate). Ending the iteration cancels.
   * @param {Prompt[]} prompts
   * @param {number} horizon
   * @param {number} samples of each prompt
   * @param {{track?: Uint8Array[]|null, banned?: Uint8Array|null, seed?: number|bigint}} options track: one array a group
   * @yields {Step}
   */
  *generate(prompts, horizon, samples, { track = null, banned = null, seed = 0 } = {}) {
    const { shared, slots } = splitPrompts(prompts);
    const open = slots[0].length;
    const places = open + stepsWithin(prompts, horizon, this.contextLength);
    const size = this.codes.length;
    const groups = track?.map((group) => [...group.keys()].filter((id) => group[id]));
    const allowed = banned && Uint8Array.from({ length: size }, (_, id) => !banned[id]);
    const fills = slotUniforms(open, samples, seed);
    const random = new Generator(seed);
    const stops = new Set(this.stops);
    const count = prompts.length * samples;
    const logWeight = new Float64Array(count);
    const { cached } = this.#layers;
    const region = this.#memory.take(shared.reduce((sum, ids) => sum + ids.length, count * places) * cached);
    try {
      let next = region.at;
      const cache = (length) => {
        const one = { at: next, length };
        next += length * cached;
        return one;
      };
      const read = shared.map((ids) => cache(ids.length));
      let going = Array.from({ length: count }, (_, place) => {
        return { place, prompt: Math.floor(place / samples), sample: place % samples, own: cache(places), code: -1 };
      });
      // Rows are what goes through the model: a code, what it sees, and the continuations that draw from what comes out.
      let rows = shared.flatMap((ids, prompt) => {
        return ids.map((id, place) => {
          const last = place + 1 === ids.length;
          return { id, place, sees: [[read[prompt], place + 1]], draw: last ? going.filter((one) => one.prompt === prompt) : [] };
        });
      });
      for (let at = 0; at < places; at++) {
        const filling = at < open;
        const uniforms = filling ? fills[at] : random.randomFloat32(samples);
        const codes = new Int32Array(count).fill(-1);
        const mass = groups && !filling ? new Float64Array(count * groups.length) : null;
        for (const [probabilities, { draw }] of this.#distributions(rows)) {
          const masses = mass && groups.map((ids) => ids.reduce((sum, id) => sum + probabilities[id], 0));
          const kept = filling ? only(slots[draw[0].prompt][at], size) : allowed;
          const total = cumulate(probabilities, kept);
          for (const one of draw) {
            one.code = drawn(probabilities, total, uniforms[one.sample]);
            if (filling) logWeight[one.place] += Math.log(total);
            codes[one.place] = one.code;
            mass?.set(masses, one.place * groups.length);
          }
        }
        if (!filling) {
          yield { codes, mass, logWeight };
          going = going.filter((one) => !stops.has(one.code));
          if (!going.length) return;
        }
        rows = going.map((one) => {
          const length = shared[one.prompt].length;
          return { id: one.code, place: length + at, sees: [[read[one.prompt], length], [one.own, at + 1]], draw: [one] };
        });
      }
    } finally {
      this.#memory.give(region);
    }
  }

  /**
   * @param {number[][]} sequences ids; of a sequence longer than the context, its first part counts
   * @returns {Float64Array[]} of n ids, the n - 1 log-probabilities of each given those before it
   */
  score(sequences) {
    return sequences.map((ids) => {
      const found = new Float64Array(Math.min(ids.length, this.contextLength) - 1);
      for (const [place, logits] of this.#logitsAlong(ids)) {
        if (place === found.length) break;
        const max = largest(logits);
        found[place] = logits[ids[place + 1]] - max - Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit - max), 0));
      }
      return found;
    });
  }

  /**
   * @param {number[][]} sequences
   * @returns {Float32Array[]} of n ids, n rows of logits, one row behind the other
   */
  logits(sequences) {
    return sequences.map((ids) => {
      const size = this.codes.length;
      const found = new Float32Array(Math.min(ids.length, this.contextLength) * size);
      for (const [place, logits] of this.#logitsAlong(ids)) found.set(logits, place * size);
      return found;
    });
  }

  /**
   * @param {number[][]} sequences
   * @returns {Float64Array[]} the last layer's states, averaged over the codes and scaled to unit length
   */
  embed(sequences) {
    const { hidden, norm } = this.#layers;
    return sequences.map((ids) => {
      const sum = new Float64Array(hidden);
      for (const [, row] of this.#statesAlong(ids)) {
        const at = this.#scratch.input + row * hidden;
        const { floats } = this.#memory;
        for (let i = 0; i < hidden; i++) sum[i] += floats[at + i];
      }
      const mean = norm.scale ? sum.map((x, i) => x * norm.scale[i]) : sum;
      const length = Math.hypot(...mean);
      return mean.map((x) => x / length);
    });
  }

  /** Next-code probabilities of the rows that somebody draws from: [probabilities, row]; valid until the next. */
  *#distributions(rows) {
    for (const tile of tiles(rows)) {
      this.#forward(tile);
      if (!tile.some((row) => row.draw.length)) continue;
      this.#head(tile.length);
      for (const [number, row] of tile.entries()) {
        if (!row.draw.length) continue;
        this.#kernels.softmax(this.#scratch.logits + number * this.#layers.head.columns, this.codes.length);
        yield [this.#logitsOf(number), row];
      }
    }
  }

  *#logitsAlong(ids) {
    for (const [place, row, rows] of this.#statesAlong(ids)) {
      if (row === 0) this.#head(rows);
      yield [place, this.#logitsOf(row)];
    }
  }

  /** Reads a sequence: [place, its row in the tile, rows of the tile], the states being those of the tile. */
  *#statesAlong(ids) {
    if (!ids.length) throw new Error("A record without any code cannot be read by a model.");
    const read = ids.slice(0, this.contextLength);
    const region = this.#memory.take(read.length * this.#layers.cached);
    try {
      const own = { at: region.at, length: read.length };
      for (const tile of tiles(read.map((id, place) => ({ id, place, sees: [[own, place + 1]] })))) {
        this.#forward(tile);
        for (const [row, { place }] of tile.entries()) yield [place, row, tile.length];
      }
    } finally {
      this.#memory.give(region);
    }
  }

  #logitsOf(row) {
    const at = this.#scratch.logits + row * this.#layers.head.columns;
    return this.#memory.floats.subarray(at, at + this.codes.length);
  }

  #head(rows) {
    this.#linear(this.#layers.head, this.#scratch.input, this.#scratch.logits, rows);
  }

  /** At most TILE rows through all layers; keys and values go into the last cache that a row sees. Their states, normed, are then `input`. */
  #forward(tile) {
    const { hidden, embedding, positions, blocks, norm, parallel } = this.#layers;
    const { states, input, wide, output } = this.#scratch;
    const { floats } = this.#memory;
    const rows = tile.length;
    const add = (columns) => {
      for (let row = 0; row < rows; row++) {
        for (let i = 0; i < hidden; i++) floats[states + row * hidden + i] += floats[output + row * columns + i];
      }
    };
    for (const [row, { id, place }] of tile.entries()) {
      const to = states + row * hidden;
      floats.copyWithin(to, embedding + id * hidden, embedding + (id + 1) * hidden);
      if (positions) for (let i = 0; i < hidden; i++) floats[to + i] += positions[place * hidden + i];
    }
    blocks.forEach((block, layer) => {
      const { queryKeyValue, attentionOut, up, down } = block;
      normalize(block.normAttention, floats, states, input, rows, hidden);
      this.#linear(queryKeyValue, input, wide, rows);
      this.#attend(layer, tile, queryKeyValue.columns);
      if (parallel) {
        normalize(block.normMlp, floats, states, output, rows, hidden); // of the same states; `input` still waits to be read
        this.#linear(up, output, wide, rows);
      }
      this.#linear(attentionOut, input, output, rows);
      add(attentionOut.columns);
      if (!parallel) {
        normalize(block.normMlp, floats, states, input, rows, hidden);
        this.#linear(up, input, wide, rows);
      }
      this.#activate(up.columns, down.inner, rows);
      this.#linear(down, input, output, rows);
      add(down.columns);
    });
    normalize(norm, floats, states, input, rows, hidden);
  }

  /** Queries, keys and values of each row (`wide`) -> the values it sees, mixed (`input`). */
  #attend(layer, tile, columns) {
    const { heads, keyHeads, width, turn, cached } = this.#layers;
    const { input, wide, weights } = this.#scratch;
    const { floats } = this.#memory;
    const stride = keyHeads * width;
    const group = heads / keyHeads;
    const keysOf = (cache) => cache.at + layer * 2 * stride * cache.length;
    const valuesOf = (cache) => keysOf(cache) + stride * cache.length;
    for (const [row, { place, sees }] of tile.entries()) {
      const at = wide + row * columns;
      if (turn) rotate(floats, at, heads + keyHeads, width, turn, place);
      const [cache, seen] = sees.at(-1);
      const keys = at + heads * width;
      floats.copyWithin(keysOf(cache) + (seen - 1) * stride, keys, keys + stride);
      floats.copyWithin(valuesOf(cache) + (seen - 1) * stride, keys + stride, keys + 2 * stride);
    }
    floats.fill(0, input, input + tile.length * heads * width);
    for (const [row, { sees }] of tile.entries()) {
      for (let head = 0; head < keyHeads; head++) {
        const first = head * group * width;
        let seen = 0;
        for (const [cache, n] of sees) {
          const keys = keysOf(cache) + head * width;
          this.#kernels.scores(wide + row * columns + first, keys, weights + seen, group, n, width, stride, this.contextLength);
          seen += n;
        }
        for (let query = 0; query < group; query++) this.#kernels.softmax(weights + query * this.contextLength, seen);
        seen = 0;
        for (const [cache, n] of sees) {
          const to = input + row * heads * width + first;
          this.#kernels.mix(weights + seen, valuesOf(cache) + head * width, to, group, n, width, stride, this.contextLength);
          seen += n;
        }
      }
    }
  }

  /** `wide` -> `input`, (rows, inner) */
  #activate(columns, inner, rows) {
    const { gated, activation } = this.#layers;
    const { input, wide } = this.#scratch;
    if (activation in BY_KERNEL) {
      this.#kernels.activate(wide, input, rows, columns, inner, gated, BY_KERNEL[activation]);
      return;
    }
    const { floats } = this.#memory;
    const f = ACTIVATIONS[activation];
    for (let row = 0; row < rows; row++) {
      const from = wide + row * columns;
      const to = input + row * inner;
      for (let i = 0; i < inner; i++) floats[to + i] = f(floats[from + i]) * (gated ? floats[from + inner + i] : 1);
    }
  }

  #linear({ at, inner, columns, bias }, from, to, rows) {
    this.#kernels.multiply(from, at, to, Math.ceil(rows / 4) * 4, inner, columns);
    if (!bias) return;
    const { floats } = this.#memory;
    for (let row = 0; row < rows; row++) for (let i = 0; i < bias.length; i++) floats[to + row * columns + i] += bias[i];
  }
}

// How a question is put -------------------------------------------------------------------

/** As blackbox.protocol.split_prompts. */
function splitPrompts(prompts) {
  if (prompts.some((prompt) => !prompt.length || prompt.some((slot) => !slot.length))) {
    throw new Error("A prompt needs at least one code, and each of its slots at least one code.");
  }
  const singles = prompts.map((prompt) => {
    const first = prompt.findIndex((slot) => slot.length > 1);
    return first < 0 ? prompt.length : first;
  });
  if (singles.includes(0)) throw new Error("The first place of a prompt must be one code (the start code).");
  const open = Math.max(...prompts.map((prompt, i) => prompt.length - singles[i]));
  if (prompts.some((prompt) => prompt.length <= open)) {
    throw new Error("prompts of such different forms cannot be continued together");
  }
  return {
    shared: prompts.map((prompt) => prompt.slice(0, prompt.length - open).map(([id]) => id)),
    slots: prompts.map((prompt) => prompt.slice(prompt.length - open)),
  };
}

/** As blackbox.protocol.within_context. */
function stepsWithin(prompts, horizon, contextLength) {
  const steps = Math.min(horizon, contextLength - Math.max(...prompts.map((prompt) => prompt.length)));
  if (steps < 1) {
    throw new Error(`The prompt fills the model's context of ${contextLength.toLocaleString("en")} codes. Give the attacker fewer facts.`);
  }
  return steps;
}

/** As blackbox.protocol.slot_uniforms: one array a slot, counted from the prompt's end. */
function slotUniforms(slots, samples, seed) {
  const random = new Generator([seed, 1]);
  return Array.from({ length: slots }, () => random.randomFloat32(samples)).reverse();
}

function only(ids, size) {
  const kept = new Uint8Array(size);
  for (const id of ids) kept[id] = 1;
  return kept;
}

/** Probabilities, but for those not kept, become their running sums; returns the last. Summed in float64 as torch does, kept in float32. */
function cumulate(probabilities, kept) {
  let sum = 0;
  for (let id = 0; id < probabilities.length; id++) {
    if (!kept || kept[id]) sum += probabilities[id];
    probabilities[id] = sum;
  }
  return probabilities[probabilities.length - 1];
}

/** The id at which the running sums pass uniform * total: as sampling._draw, never a code without weight. */
function drawn(sums, total, uniform) {
  const target = Math.min(Math.fround(uniform * total), floatBelow(total));
  let low = 0;
  let high = sums.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sums[middle] > target) high = middle;
    else low = middle + 1;
  }
  return low;
}

function floatBelow(positive) {
  const bits = new Uint32Array(Float32Array.of(positive).buffer);
  if (positive > 0) bits[0] -= 1;
  return new Float32Array(bits.buffer)[0];
}

function* tiles(rows) {
  for (let first = 0; first < rows.length; first += TILE) yield rows.slice(first, first + TILE);
}

// Layers ----------------------------------------------------------------------------------

/** What the kernels compute, and whether with the hyperbolic tangent. */
const BY_KERNEL = { silu: 0, gelu_new: 1 };

const ACTIVATIONS = {
  relu: (x) => Math.max(x, 0),
  gelu: (x) => 0.5 * x * (1 + erf(x * Math.SQRT1_2)),
};

/** Abramowitz and Stegun, 7.1.26: within 1.5e-7. */
function erf(x) {
  const t = 1 / (1 + 0.3275911 * Math.abs(x));
  const series = ((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + 0.254829592) * t;
  return Math.sign(x) * (1 - series * Math.exp(-x * x));
}

/** A norm without the scale that is part of the layer behind it (layers.rms_norm), or a whole layer norm. */
function normalize({ rootMeanSquare, epsilon, weight, bias }, floats, from, to, rows, n) {
  for (let row = 0; row < rows; row++, from += n, to += n) {
    let mean = 0;
    let square = 0;
    if (!rootMeanSquare) for (let i = 0; i < n; i++) mean += floats[from + i] / n;
    for (let i = 0; i < n; i++) square += (floats[from + i] - mean) ** 2;
    const by = 1 / Math.sqrt(rootMeanSquare ? square + n * epsilon : square / n + epsilon);
    for (let i = 0; i < n; i++) floats[to + i] = (floats[from + i] - mean) * by;
    if (rootMeanSquare) continue;
    for (let i = 0; i < n; i++) floats[to + i] = floats[to + i] * weight[i] + (bias ? bias[i] : 0);
  }
}

/** Pairs of numbers that stand side by side are turned by the angle of their place. */
function rotate(floats, at, heads, width, turn, place) {
  for (let head = 0; head < heads; head++, at += width) {
    for (let i = 0; i < width; i += 2) {
      const x = floats[at + i];
      const y = floats[at + i + 1];
      const cosine = turn[place * width + i];
      const sine = turn[place * width + i + 1];
      floats[at + i] = x * cosine - y * sine;
      floats[at + i + 1] = x * sine + y * cosine;
    }
  }
}

function largest(floats) {
  return floats.reduce((max, x) => Math.max(max, x), -Infinity);
}

// Opening ---------------------------------------------------------------------------------

function unpack(packed, memory) {
  const numbers = unpacker();
  const store = (floats) => {
    const { at } = memory.take(floats.length);
    memory.floats.set(floats, at);
    return at;
  };
  const norm = (given) => {
    const weight = numbers(given.weight);
    const root = Math.fround(Math.sqrt(weight.length));
    return { ...given, weight, bias: numbers(given.bias), scale: given.rootMeanSquare ? weight.map((x) => x * root) : null };
  };
  const linear = ({ scaled, bias, weight }, { scale = null, queries = 0, tied = null } = {}) => {
    const [inner, outer] = tied ? [...tied.shape].reverse() : weight.shape;
    const plain = tied?.floats ?? numbers(weight);
    const [byRow, byColumn] = tied ? [1, inner] : [outer, 1];
    const root = Math.fround(1 / Math.fround(Math.sqrt(packed.width)));
    const columns = Math.ceil(outer / 8) * 8;
    const panels = new Float32Array(inner * columns);
    for (let row = 0; row < inner; row++) {
      const factor = scaled && scale ? scale[row] : 1;
      for (let column = 0; column < outer; column++) {
        const x = Math.fround(plain[row * byRow + column * byColumn] * factor);
        panels[(column >> 3) * 8 * inner + row * 8 + (column & 7)] = scaled && column < queries ? x * root : x;
      }
    }
    return { at: store(panels), inner, columns, bias: numbers(bias) };
  };
  const embedding = { floats: numbers(packed.embedding), shape: packed.embedding.shape };
  const last = norm(packed.norm);
  const blocks = packed.blocks.map((block) => {
    const [normAttention, normMlp] = [norm(block.normAttention), norm(block.normMlp)];
    return {
      normAttention,
      normMlp,
      queryKeyValue: linear(block.queryKeyValue, { scale: normAttention.scale, queries: packed.heads * packed.width }),
      attentionOut: linear(block.attentionOut),
      up: linear(block.up, { scale: normMlp.scale }),
      down: linear(block.down),
    };
  });
  return {
    hidden: embedding.shape[1],
    heads: packed.heads,
    keyHeads: packed.keyHeads,
    width: packed.width,
    parallel: packed.parallel,
    gated: packed.gated,
    activation: packed.activation,
    embedding: store(embedding.floats),
    positions: numbers(packed.positions),
    turn: numbers(packed.turn),
    blocks,
    norm: last,
    head: linear(packed.head, { scale: last.scale, tied: packed.head.weight ? null : embedding }),
    cached: 2 * blocks.length * packed.keyHeads * packed.width, // numbers that are kept of a place: keys and values
  };
}

/** From what pack.py made of an array (or null) to its numbers. */
export function unpacker() {
  const ofHalf = Float32Array.from({ length: 65536 }, (_, bits) => {
    const exponent = (bits >> 10) & 31;
    const size = exponent ? (1024 + (bits & 1023)) * 2 ** (exponent - 25) : (bits & 1023) * 2 ** -24;
    return bits & 32768 ? -size : size;
  });
  return (array) => {
    if (!array) return null;
    const { buffer } = bytesOf(array.base64);
    return array.format === "float32" ? new Float32Array(buffer) : Float32Array.from(new Uint16Array(buffer), (bits) => ofHalf[bits]);
  };
}

function bytesOf(base64) {
  const letters = atob(base64);
  const bytes = new Uint8Array(letters.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = letters.charCodeAt(i);
  return bytes;
}

/** Floats in one piece, of which regions are taken and given back: the memory of a question serves the next one. */
class Memory {
  #taken = [{ at: 0, end: 16 }]; // kept free: place 0 would be the null pointer
  #grow;

  constructor(floats, grow) {
    this.floats = floats;
    this.#grow = grow;
  }

  take(n) {
    let number = 1;
    while (number < this.#taken.length && this.#taken[number].at - this.#taken[number - 1].end < n) number++;
    const at = this.#taken[number - 1].end;
    const region = { at, end: at + n };
    this.#taken.splice(number, 0, region);
    if (region.end > this.floats.length) this.floats = this.#grow(this.floats, region.end);
    return region;
  }

  give(region) {
    this.#taken.splice(this.#taken.indexOf(region), 1);
  }
}

// Kernels (kernels.c says what each does) -------------------------------------------------

function wasmKernels(base64, must) {
  try {
    const wasm = new WebAssembly.Memory({ initial: 16 });
    const instance = new WebAssembly.Instance(new WebAssembly.Module(bytesOf(base64)), { env: { memory: wasm } });
    const memory = new Memory(new Float32Array(wasm.buffer), (_, n) => {
      wasm.grow(Math.ceil((n * 4 - wasm.buffer.byteLength) / (4 * PAGE)));
      return new Float32Array(wasm.buffer);
    });
    return { name: "wasm", memory, ...instance.exports };
  } catch (error) {
    if (must) throw error;
    return null; // no WebAssembly, none with SIMD, or a page that must not compile it
  }
}

function jsKernels() {
  const memory = new Memory(new Float32Array(0), (floats, n) => {
    const more = new Float32Array(Math.ceil(n * 1.5));
    more.set(floats);
    return more;
  });
  return { name: "js", memory, multiply, scores, mix, softmax, activate };

  function multiply(a, b, c, rows, inner, columns) {
    const { floats } = memory;
    for (let column = 0; column < columns; column += 4) {
      const panel = b + (column & ~7) * inner + (column & 7);
      for (let row = 0; row < rows; row += 2) {
        const x = a + row * inner;
        const y = x + inner;
        let x0 = 0, x1 = 0, x2 = 0, x3 = 0, y0 = 0, y1 = 0, y2 = 0, y3 = 0;
        for (let k = 0, at = panel; k < inner; k++, at += 8) {
          const ofX = floats[x + k], ofY = floats[y + k];
          const b0 = floats[at], b1 = floats[at + 1], b2 = floats[at + 2], b3 = floats[at + 3];
          x0 += ofX * b0;
          x1 += ofX * b1;
          x2 += ofX * b2;
          x3 += ofX * b3;
          y0 += ofY * b0;
          y1 += ofY * b1;
          y2 += ofY * b2;
          y3 += ofY * b3;
        }
        const to = c + row * columns + column;
        floats[to] = x0;
        floats[to + 1] = x1;
        floats[to + 2] = x2;
        floats[to + 3] = x3;
        floats[to + columns] = y0;
        floats[to + columns + 1] = y1;
        floats[to + columns + 2] = y2;
        floats[to + columns + 3] = y3;
      }
    }
  }

  function scores(queries, keys, out, heads, n, width, stride, apart) {
    const { floats } = memory;
    for (let head = 0; head < heads; head++) {
      for (let j = 0; j < n; j++) {
        let sum = 0;
        for (let i = 0; i < width; i++) sum += floats[queries + head * width + i] * floats[keys + j * stride + i];
        floats[out + head * apart + j] = sum;
      }
    }
  }

  function mix(weights, values, out, heads, n, width, stride, apart) {
    const { floats } = memory;
    for (let head = 0; head < heads; head++) {
      for (let j = 0; j < n; j++) {
        const weight = floats[weights + head * apart + j];
        for (let i = 0; i < width; i++) floats[out + head * width + i] += weight * floats[values + j * stride + i];
      }
    }
  }

  function softmax(at, n) {
    const { floats } = memory;
    let max = -Infinity;
    let sum = 0;
    for (let i = at; i < at + n; i++) if (floats[i] > max) max = floats[i];
    for (let i = at; i < at + n; i++) sum += floats[i] = Math.exp(floats[i] - max);
    for (let i = at; i < at + n; i++) floats[i] /= sum;
  }

  function activate(a, out, rows, columns, inner, gated, tanh) {
    const { floats } = memory;
    for (let row = 0; row < rows; row++) {
      for (let i = 0; i < inner; i++) {
        const x = floats[a + row * columns + i];
        const u = tanh ? 1.5957691216057308 * (x + 0.044715 * x ** 3) : x;
        floats[out + row * inner + i] = (x / (1 + Math.exp(-u))) * (gated ? floats[a + row * columns + inner + i] : 1);
      }
    }
  }
}
