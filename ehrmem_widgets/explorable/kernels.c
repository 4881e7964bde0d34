// The products and exponentials that take nearly all of the time. build_kernels.py makes kernels.wasm of this file.
// All matrices lie row by row in one memory; an argument such as `a` is the place of its first float there.
// engine.js holds the same in JavaScript, for browsers that may not run this. No arrays here: the memory has no stack.
#include <wasm_simd128.h>

#define EXPORT(name) __attribute__((export_name(#name))) void name
#define FLOATS(place) ((float *)((place) * sizeof(float)))

// c (rows, columns) = a (rows, inner) b. rows in fours, columns in eights; b in panels of eight columns, each (inner, 8).
EXPORT(multiply)(unsigned a, unsigned b, unsigned c, unsigned rows, unsigned inner, unsigned columns) {
  for (unsigned column = 0; column < columns; column += 8)
    for (unsigned row = 0; row < rows; row += 4) {
      const float *x = FLOATS(a + row * inner), *panel = FLOATS(b + column * inner);
      v128_t sum[4][2] = {0};
      for (unsigned k = 0; k < inner; k++, panel += 8) {
        const v128_t low = wasm_v128_load(panel), high = wasm_v128_load(panel + 4);
#pragma unroll
        for (int r = 0; r < 4; r++) {
          const v128_t each = wasm_v128_load32_splat(x + r * inner + k);
          sum[r][0] = wasm_f32x4_add(sum[r][0], wasm_f32x4_mul(each, low));
          sum[r][1] = wasm_f32x4_add(sum[r][1], wasm_f32x4_mul(each, high));
        }
      }
#pragma unroll
      for (int r = 0; r < 4; r++) {
        float *out = FLOATS(c + (row + r) * columns + column);
        wasm_v128_store(out, sum[r][0]);
        wasm_v128_store(out + 4, sum[r][1]);
      }
    }
}

// out (heads, n), its rows `apart`: each query (heads, width) times each of n keys, `stride` floats from one to the next.
EXPORT(scores)(unsigned queries, unsigned keys, unsigned out, unsigned heads, unsigned n, unsigned width, unsigned stride,
               unsigned apart) {
  for (unsigned head = 0; head < heads; head++) {
    const float *query = FLOATS(queries + head * width), *key = FLOATS(keys);
    float *to = FLOATS(out + head * apart);
    for (unsigned j = 0; j < n; j++, key += stride) {
      v128_t sum = {0};
      unsigned i = 0;
      for (; i + 4 <= width; i += 4)
        sum = wasm_f32x4_add(sum, wasm_f32x4_mul(wasm_v128_load(query + i), wasm_v128_load(key + i)));
      float one = wasm_f32x4_extract_lane(sum, 0) + wasm_f32x4_extract_lane(sum, 1) + wasm_f32x4_extract_lane(sum, 2) +
                  wasm_f32x4_extract_lane(sum, 3);
      for (; i < width; i++) one += query[i] * key[i];
      to[j] = one;
    }
  }
}

// out (heads, width) += weights (heads, n), its rows `apart`, times n values, `stride` floats from one to the next.
EXPORT(mix)(unsigned weights, unsigned values, unsigned out, unsigned heads, unsigned n, unsigned width, unsigned stride,
            unsigned apart) {
  for (unsigned head = 0; head < heads; head++) {
    const float *weight = FLOATS(weights + head * apart);
    float *to = FLOATS(out + head * width);
    unsigned i = 0;
    for (; i + 4 <= width; i += 4) {
      const float *value = FLOATS(values) + i;
      v128_t sum = wasm_v128_load(to + i);
      for (unsigned j = 0; j < n; j++, value += stride)
        sum = wasm_f32x4_add(sum, wasm_f32x4_mul(wasm_v128_load32_splat(weight + j), wasm_v128_load(value)));
      wasm_v128_store(to + i, sum);
    }
    for (; i < width; i++)
      for (unsigned j = 0; j < n; j++) to[i] += weight[j] * FLOATS(values)[j * stride + i];
  }
}

// e^x within two units of the last place (the polynomial is that of the Cephes library's expf).
static inline v128_t exponential(v128_t x) {
  x = wasm_f32x4_min(wasm_f32x4_max(x, wasm_f32x4_const_splat(-87)), wasm_f32x4_const_splat(88));
  const v128_t power = wasm_f32x4_nearest(wasm_f32x4_mul(x, wasm_f32x4_const_splat(1.44269504088896341f)));
  x = wasm_f32x4_sub(x, wasm_f32x4_mul(power, wasm_f32x4_const_splat(0.693359375f)));
  x = wasm_f32x4_add(x, wasm_f32x4_mul(power, wasm_f32x4_const_splat(2.12194440e-4f)));
  v128_t y = wasm_f32x4_const_splat(1.9875691500e-4f);
#define TERM(number) y = wasm_f32x4_add(wasm_f32x4_mul(y, x), wasm_f32x4_const_splat(number))
  TERM(1.3981999507e-3f);
  TERM(8.3334519073e-3f);
  TERM(4.1665795894e-2f);
  TERM(1.6666665459e-1f);
  TERM(5.0000001201e-1f);
#undef TERM
  y = wasm_f32x4_add(wasm_f32x4_add(wasm_f32x4_mul(wasm_f32x4_mul(y, x), x), x), wasm_f32x4_const_splat(1));
  const v128_t exponent = wasm_i32x4_add(wasm_i32x4_trunc_sat_f32x4(power), wasm_i32x4_const_splat(127));
  return wasm_f32x4_mul(y, wasm_i32x4_shl(exponent, 23));
}

// The first n (1 to 3) of four floats, the others being `rest`.
static inline v128_t first(const float *at, unsigned n, v128_t rest) {
  rest = wasm_v128_load32_lane(at, rest, 0);
  if (n > 1) rest = wasm_v128_load32_lane(at + 1, rest, 1);
  if (n > 2) rest = wasm_v128_load32_lane(at + 2, rest, 2);
  return rest;
}

static inline void keep(float *at, unsigned n, v128_t four) {
  wasm_v128_store32_lane(at, four, 0);
  if (n > 1) wasm_v128_store32_lane(at + 1, four, 1);
  if (n > 2) wasm_v128_store32_lane(at + 2, four, 2);
}

// n numbers become shares of one: e^x over the sum of all, which is taken in float64.
EXPORT(softmax)(unsigned at, unsigned n) {
  float *x = FLOATS(at);
  const unsigned whole = n & ~3u, left = n & 3u;
  const v128_t lowest = wasm_f32x4_const_splat(-__builtin_inff());
  v128_t most = left ? first(x + whole, left, lowest) : lowest;
  for (unsigned i = 0; i < whole; i += 4) most = wasm_f32x4_max(most, wasm_v128_load(x + i));
  most = wasm_f32x4_max(most, wasm_i32x4_shuffle(most, most, 2, 3, 0, 1));
  most = wasm_f32x4_max(most, wasm_i32x4_shuffle(most, most, 1, 0, 3, 2));
  v128_t low = {0}, high = {0};
  for (unsigned i = 0; i < whole; i += 4) {
    const v128_t y = exponential(wasm_f32x4_sub(wasm_v128_load(x + i), most));
    wasm_v128_store(x + i, y);
    low = wasm_f64x2_add(low, wasm_f64x2_promote_low_f32x4(y));
    high = wasm_f64x2_add(high, wasm_f64x2_promote_low_f32x4(wasm_i32x4_shuffle(y, y, 2, 3, 0, 1)));
  }
  low = wasm_f64x2_add(low, high);
  double sum = wasm_f64x2_extract_lane(low, 0) + wasm_f64x2_extract_lane(low, 1);
  if (left) keep(x + whole, left, exponential(wasm_f32x4_sub(first(x + whole, left, lowest), most)));
  for (unsigned i = whole; i < n; i++) sum += x[i];
  const v128_t share = wasm_f32x4_splat((float)(1 / sum));
  for (unsigned i = 0; i < whole; i += 4) wasm_v128_store(x + i, wasm_f32x4_mul(wasm_v128_load(x + i), share));
  if (left) keep(x + whole, left, wasm_f32x4_mul(first(x + whole, left, lowest), share));
}

static inline v128_t activated(v128_t x, unsigned tanh) {
  v128_t u = x; // silu: x / (1 + e^-x)
  if (tanh) {   // gelu_new: x / (1 + e^-2v), v = sqrt(2 / pi) (x + 0.044715 x^3)
    const v128_t cube = wasm_f32x4_mul(wasm_f32x4_mul(x, x), x);
    u = wasm_f32x4_mul(wasm_f32x4_add(x, wasm_f32x4_mul(cube, wasm_f32x4_const_splat(0.044715f))), wasm_f32x4_const_splat(1.5957691216057308f));
  }
  return wasm_f32x4_div(x, wasm_f32x4_add(exponential(wasm_f32x4_neg(u)), wasm_f32x4_const_splat(1)));
}

// out (rows, inner) = silu or gelu_new (`tanh`) of a (rows, `columns`), times the second `inner` columns of a where it is `gated`.
EXPORT(activate)(unsigned a, unsigned out, unsigned rows, unsigned columns, unsigned inner, unsigned gated, unsigned tanh) {
  const v128_t none = {0};
  const unsigned whole = inner & ~3u, left = inner & 3u;
  for (unsigned row = 0; row < rows; row++) {
    const float *x = FLOATS(a + row * columns), *gate = x + inner;
    float *to = FLOATS(out + row * inner);
    for (unsigned i = 0; i < whole; i += 4) {
      const v128_t y = activated(wasm_v128_load(x + i), tanh);
      wasm_v128_store(to + i, gated ? wasm_f32x4_mul(y, wasm_v128_load(gate + i)) : y);
    }
    if (left) {
      const v128_t y = activated(first(x + whole, left, none), tanh);
      keep(to + whole, left, gated ? wasm_f32x4_mul(y, first(gate + whole, left, none)) : y);
    }
  }
}
