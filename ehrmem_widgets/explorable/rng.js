/** numpy's SeedSequence and default_rng (PCG64), bit for bit. */

const POOL = 4; // words of a seed's pool
const WORD = 0xffffffffn;
const BITS_128 = (1n << 128n) - 1n;
const MULTIPLIER = 0x2360ed051fc65da44385df649fccf645n;

/**
 * numpy.random.SeedSequence(entropy).generate_state(n)
 * @param {(number|bigint)[]} entropy not negative
 * @param {number} n
 * @returns {Uint32Array}
 */
export function generateState(entropy, n) {
  const words = entropy.flatMap(wordsOf);
  const hash = hasher(0x43b0d7e5, 0x931e8875);
  const pool = Array.from({ length: POOL }, (_, i) => hash(words[i] ?? 0));
  for (let from = 0; from < POOL; from++) {
    for (let to = 0; to < POOL; to++) if (from !== to) pool[to] = mixed(pool[to], hash(pool[from]));
  }
  for (const word of words.slice(POOL)) {
    for (let to = 0; to < POOL; to++) pool[to] = mixed(pool[to], hash(word));
  }
  const out = hasher(0x8b51f9dd, 0x58f38ded);
  return Uint32Array.from({ length: n }, (_, i) => out(pool[i % POOL]));
}

/** numpy.random.default_rng(seed) */
export class Generator {
  #state;
  #increment;
  #waiting = null; // the upper half of the last 64 bits

  /** @param {number|bigint|(number|bigint)[]} seed */
  constructor(seed) {
    const words = generateState([seed].flat(), 8);
    const [high, low, highOfStream, lowOfStream] = [0, 2, 4, 6].map((i) => BigInt(words[i]) | (BigInt(words[i + 1]) << 32n));
    this.#increment = ((((highOfStream << 64n) | lowOfStream) << 1n) | 1n) & BITS_128;
    this.#state = (this.#increment + ((high << 64n) | low)) & BITS_128;
    this.#advance();
  }

  /**
   * .random(n, dtype=float32)
   * @param {number} n
   * @returns {Float32Array}
   */
  randomFloat32(n) {
    return Float32Array.from({ length: n }, () => (this.#next() >>> 8) / 2 ** 24);
  }

  /**
   * .choice(items, n), with replacement (Lemire 2019, as numpy: nothing is drawn where there is no choice)
   * @template T
   * @param {T[]} items
   * @param {number} n
   * @returns {T[]}
   */
  choice(items, n) {
    if (items.length === 1) return Array(n).fill(items[0]);
    const size = BigInt(items.length);
    const unfair = (1n << 32n) % size;
    return Array.from({ length: n }, () => {
      let product;
      do product = BigInt(this.#next()) * size; while ((product & WORD) < unfair);
      return items[Number(product >> 32n)];
    });
  }

  #next() {
    let word = this.#waiting;
    this.#waiting = null;
    if (word === null) {
      this.#advance();
      const folded = BigInt.asUintN(64, (this.#state >> 64n) ^ this.#state);
      const turn = this.#state >> 122n;
      const turned = (folded >> turn) | (folded << (64n - turn));
      word = Number(turned & WORD);
      this.#waiting = Number((turned >> 32n) & WORD);
    }
    return word;
  }

  #advance() {
    this.#state = (this.#state * MULTIPLIER + this.#increment) & BITS_128;
  }
}

function wordsOf(number) {
  const words = [];
  for (let rest = BigInt(number); rest > 0n || !words.length; rest >>= 32n) words.push(Number(rest & WORD));
  return words;
}

function hasher(constant, multiplier) {
  return (word) => {
    const before = word ^ constant;
    constant = Math.imul(constant, multiplier);
    return shifted(Math.imul(before, constant));
  };
}

function mixed(x, y) {
  return shifted(Math.imul(x, 0xca01f9dd) - Math.imul(y, 0x4973f715));
}

function shifted(word) {
  return (word ^ (word >>> 16)) >>> 0;
}
