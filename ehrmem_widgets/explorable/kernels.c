// The three products that take nearly all of the time. build_kernels.py makes kernels.wasm of this file.
// All matrices lie row by row in one memory; an argument such as `a` is the place of its first float there.
// engine.js holds the same three in JavaScript, for browsers that may not run this.
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
