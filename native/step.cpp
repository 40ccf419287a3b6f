// Products, gradients, loss and optimizer on tiles of the batch: see topokit.h for the layout.
//
// Compiled once for each instruction set. TK_BYTES is the size of a vector, TK_BUILD the name of the exported table.
// Each number that is written belongs to one thread, and is computed in the same order for any number of threads.
#include <math.h>
#include <string.h>

#include <algorithm>
#include <type_traits>
#include <utility>

#include "team.h"

#define INLINE inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 16")

namespace {

template <class S>
constexpr int N = TK_BYTES / sizeof(S);  // numbers in a vector
template <class S>
struct Vector {
  typedef S V __attribute__((vector_size(TK_BYTES)));
  typedef std::conditional_t<sizeof(S) == 4, int32_t, int64_t> I __attribute__((vector_size(TK_BYTES)));
};
template <class S>
using V = typename Vector<S>::V;

template <class S>
INLINE V<S> load(const S *from) {
  V<S> v;
  memcpy(&v, from, sizeof v);
  return v;
}
template <class S>
INLINE void store(S *to, V<S> v) {
  memcpy(to, &v, sizeof v);
}
template <class S>
INLINE V<S> splat(S a) {
  return a - V<S>{};  // exact for every number, also for -0
}
template <class S>
INLINE V<S> gated(V<S> v, V<S> y) {
  return y <= V<S>{} ? V<S>{} : v;
}

constexpr int MOST_VECTORS = 8;  // in a tile
// How many vectors of a tile fit into the registers as sums of rows, beside a number of each row and a vector.
constexpr int fitting(int rows) { return std::min(MOST_VECTORS, ((TK_BYTES == 64 ? 32 : 16) - rows - 1) / rows); }
template <class S>
constexpr int abreast(int rows) {  // columns that are multiplied with them at once, in sums over the batch
  return std::min(N<S>, fitting(rows) >= 8 ? 8 : fitting(rows) >= 4 ? 4 : 2);
}
constexpr long CACHED = 1536 << 10;  // bytes of inputs whose gradients of values are summed in registers

// Numbers that many rows are multiplied with are copied to a panel, a line of PANEL vectors for each.
constexpr int PANEL = 2, PANEL_BYTES = 1 << 16, PANEL_LINES = PANEL_BYTES / (PANEL * TK_BYTES);
constexpr int PANEL_SAMPLES = 256;  // summed one after another; sums of more in one number are less exact

INLINE int divided_up(int a, int b) { return (a + b - 1) / b; }

template <int... I, class F>
INLINE void pick(int n, std::integer_sequence<int, I...>, F f) {  // f(n), of which the compiler knows the number
  (void)((n == I + 1 && (f(std::integral_constant<int, I + 1>{}), true)) || ...);
}
template <class F>
INLINE void for_groups(const tk_matrix &m, int low, int high, F f) {  // f(number of rows, the rows) of each
  for (int g = low; g < high; g++)
    pick(m.bounds[g + 1] - m.bounds[g], std::make_integer_sequence<int, 4>{},
         [&](auto count) { f(count, m.rows + m.bounds[g]); });
}
// The end of the groups from g on that are computed together: those that share a panel, or one.
INLINE int part_end(const tk_matrix &m, int g, int high) { return std::min(high, std::max(m.ends[g], g + 1)); }

// Adds the products of number e of each of R rows and T vectors from at(e) on, for all e below `count`.
template <class S, int R, int T, class A>
INLINE void add_products(V<S> (&sum)[R][T], const S *const (&own)[R], int count, A at) {
  for (int e = 0; e < count; e++) {
    const S *from = at(e);
    V<S> weight[R];
    UNROLL for (int r = 0; r < R; r++) weight[r] = splat<S>(own[r][e]);
    UNROLL for (int t = 0; t < T; t++) {
      const V<S> v = load(from + t * N<S>);
      UNROLL for (int r = 0; r < R; r++) sum[r][t] += weight[r] * v;
    }
  }
}

// ---- y = W x on one tile ----

template <class S>
struct Product {
  const tk_matrix *matrix;
  const S *values, *bias, *x, *gate;  // bias and gate may be null; a gate that is not positive makes y 0
  S *y;
  long width;
  int relu, filled;  // columns of the tile that samples fill
  S clip = 0;        // if positive: the largest number of y
  const S *panel = nullptr;  // the columns of x in the order of the rows' edges
};

template <class S, int R, int T>
__attribute__((noinline)) void strip(const Product<S> &p, const int32_t *rows, long column) {
  const int32_t *starts = p.matrix->starts, *columns = p.matrix->columns + starts[rows[0]];
  const int edges = starts[rows[0] + 1] - starts[rows[0]];
  const S *x = p.x + column, *own[R];
  const long width = p.width;
  V<S> sum[R][T];
  for (int r = 0; r < R; r++) {
    const V<S> bias = splat<S>(p.bias ? p.bias[rows[r]] : S(0));
    for (int t = 0; t < T; t++) sum[r][t] = bias;
    own[r] = p.values + starts[rows[r]];
  }
  if (T <= PANEL && p.panel) add_products<S, R, T>(sum, own, edges, [&](int e) { return p.panel + e * T * N<S>; });
  else add_products<S, R, T>(sum, own, edges, [&](int e) { return x + columns[e] * width; });
  for (int r = 0; r < R; r++) {
    const long to = rows[r] * width + column;
    for (int t = 0; t < T; t++) {
      V<S> v = sum[r][t];
      if (p.relu) v = V<S>{} > v ? V<S>{} : v;  // a nan stays one, as in torch
      if (p.clip > 0) v = v > p.clip ? splat<S>(p.clip) : v;
      if (p.gate) v = gated<S>(v, load(p.gate + to + t * N<S>));
      store(p.y + to + t * N<S>, v);
    }
  }
}

template <class S, int R>
INLINE void group(const Product<S> &p, const int32_t *rows, int first, int last) {
  for (int v = first, parts = divided_up(last - first, fitting(R)); v < last; parts--) {
    const int vectors = divided_up(last - v, parts);
    pick(vectors, std::make_integer_sequence<int, fitting(R)>{}, [&](auto t) { strip<S, R, t()>(p, rows, v * N<S>); });
    v += vectors;
  }
}
// The groups from g to end, whose rows have the same `edges` columns.
template <class S>
__attribute__((noinline)) void product_of_panels(Product<S> p, int g, int end, int edges, int first, int last) {
  const int32_t *columns = p.matrix->columns + p.matrix->starts[p.matrix->rows[p.matrix->bounds[g]]];
  alignas(64) S panel[PANEL_BYTES / sizeof(S)];
  p.panel = panel;
  for (int v = first; v < last; v += PANEL) {
    const int t = std::min(PANEL, last - v);
    for (int e = 0; e < edges; e++)
      for (int i = 0; i < t; i++) store(panel + (e * t + i) * N<S>, load(p.x + columns[e] * p.width + (v + i) * N<S>));
    for_groups(*p.matrix, g, end, [&](auto count, const int32_t *rows) { group<S, count()>(p, rows, v, v + t); });
  }
}
// The rows of the groups from low to high, and the vectors from first to last of the tile.
template <class S>
void product(const Product<S> &p, int low, int high, int first, int last) {
  const tk_matrix &m = *p.matrix;
  for (int g = low, end; g < high; g = end) {
    end = part_end(m, g, high);
    const int32_t *start = m.starts + m.rows[m.bounds[g]], edges = start[1] - start[0];
    if (m.ends[g] && edges >= PANEL_LINES / 4 && edges <= PANEL_LINES)  // fewer stay in the L1 cache anyway
      product_of_panels(p, g, end, edges, first, last);
    else for_groups(m, g, end, [&](auto count, const int32_t *rows) { group<S, count()>(p, rows, first, last); });
  }
  for (long c = p.filled; c < long(last) * N<S>; c++)
    for (int r = m.bounds[low]; r < m.bounds[high]; r++) p.y[m.rows[r] * p.width + c] = 0;
}

// ---- between rows and columns ----

template <class S, int D, int... L>
INLINE void exchange(V<S> &a, V<S> &b, std::integer_sequence<int, L...>) {
  const V<S> low = __builtin_shufflevector(a, b, ((L & D) ? N<S> + (L ^ D) : L)...);
  b = __builtin_shufflevector(a, b, ((L & D) ? N<S> + L : (L ^ D))...);
  a = low;
}
template <class S, int D = N<S> / 2>
INLINE void transpose(V<S> *v) {
  UNROLL for (int i = 0; i < N<S>; i++)
    if (!(i & D)) exchange<S, D>(v[i], v[i | D], std::make_integer_sequence<int, N<S>>{});
  if constexpr (D > 1) transpose<S, D / 2>(v);
}

// N features of N samples, from feature f on -> N lines, of which those that are not filled become 0.
template <class S>
INLINE void transpose_block(const S *const *from, int filled, long f, S *to, long stride) {
  V<S> v[N<S>];
  UNROLL for (int i = 0; i < N<S>; i++) v[i] = i < filled ? load(from[i] + f) : V<S>{};
  transpose<S>(v);
  UNROLL for (int i = 0; i < N<S>; i++) store(to + i * stride, v[i]);
}

// ---- gradients of values: sums over the batch ----

template <class S, int D>
INLINE void fold_all(V<S> *v) {  // the sum of all numbers of v[i] -> number i of v[0]
  UNROLL for (int i = 0; i < D; i++) {
    exchange<S, D>(v[i], v[i + D], std::make_integer_sequence<int, N<S>>{});
    v[i] += v[i + D];
  }
  if constexpr (D > 1) fold_all<S, D / 2>(v);
}

template <class S>
struct Gradient {
  const tk_matrix *matrix;
  const S *x, *dy;          // of the first tile
  long x_tile, dy_tile, width;  // elements from one tile to the next, and in a row
  int tiles, last_vectors;  // vectors of the last tile
  S *out;
  bool add;
  int columns_of(int tile) const { return tile + 1 < tiles ? width : last_vectors * N<S>; }
  Gradient part(int low, int high) const {  // of some tiles
    return {matrix, x + low * x_tile, dy + low * dy_tile, x_tile, dy_tile, width, high - low, columns_of(high - 1) / N<S>,
            out, add || low > 0};
  }
  void put(S *to, V<S> sum, int count) const {
    if (count >= N<S>) store(to, add ? load(to) + sum : sum);
    else for (int c = 0; c < count; c++) to[c] = add ? to[c] + sum[c] : sum[c];
  }
};

template <class S, int R, int C>
INLINE void dots(const Gradient<S> &k, const int32_t *rows, const int32_t *columns, V<S> *sums) {
  V<S> sum[R][C] = {};
  const S *x[C], *dy[R];
  for (int c = 0; c < C; c++) x[c] = k.x + columns[c] * k.width;
  for (int r = 0; r < R; r++) dy[r] = k.dy + rows[r] * k.width;
  for (int tile = 0; tile < k.tiles; tile++) {
    const long end = k.columns_of(tile);
    const long xs = tile * k.x_tile, ds = tile * k.dy_tile;
    for (long i = 0; i < end; i += N<S>) {
      V<S> d[R];
      UNROLL for (int r = 0; r < R; r++) d[r] = load(dy[r] + ds + i);
      UNROLL for (int c = 0; c < C; c++) {
        const V<S> v = load(x[c] + xs + i);
        UNROLL for (int r = 0; r < R; r++) sum[r][c] += d[r] * v;
      }
    }
  }
  UNROLL for (int r = 0; r < R; r++)
    UNROLL for (int c = 0; c < C; c++) sums[r * N<S> + c] = sum[r][c];
}

template <class S, int R>
__attribute__((noinline)) void gradient_of_rows(const Gradient<S> &k, const int32_t *rows) {
  constexpr int C = abreast<S>(R);
  const int32_t *starts = k.matrix->starts, *columns = k.matrix->columns + starts[rows[0]];
  const int edges = starts[rows[0] + 1] - starts[rows[0]];
  for (int e = 0; e < edges; e += N<S>) {
    const int left = std::min(N<S>, edges - e);
    int32_t some[N<S>];
    for (int c = 0; c < N<S>; c++) some[c] = columns[e + (c < left ? c : 0)];
    V<S> sums[R * N<S>];
    for (int c = 0; c < N<S>; c += C) {
      if (c < left) dots<S, R, C>(k, rows, some + c, sums + c);
      else for (int r = 0; r < R; r++) for (int i = c; i < c + C; i++) sums[r * N<S> + i] = V<S>{};
    }
    for (int r = 0; r < R; r++) {
      fold_all<S, N<S> / 2>(sums + r * N<S>);
      k.put(k.out + starts[rows[r]] + e, sums[r * N<S>], left);
    }
  }
}
// The edges of R rows from number e on; a panel has their inputs, a line for each sample.
template <class S, int R>
__attribute__((noinline)) void gradient_of_panel(const Gradient<S> &k, const int32_t *rows, const S *panel, int e) {
  V<S> sum[R][PANEL];
  const S *own[R];
  for (int r = 0; r < R; r++) {
    own[r] = k.dy + rows[r] * k.width;
    for (int t = 0; t < PANEL; t++) sum[r][t] = V<S>{};
  }
  for (int tile = 0; tile < k.tiles; tile++) {
    add_products<S, R, PANEL>(sum, own, k.columns_of(tile), [&](int c) { return panel + c * PANEL * N<S>; });
    panel += k.width * PANEL * N<S>;
    for (int r = 0; r < R; r++) own[r] += k.dy_tile;
  }
  for (int r = 0; r < R; r++) {
    const int32_t *start = k.matrix->starts + rows[r];
    for (int t = 0; t < PANEL; t++) k.put(k.out + *start + e + t * N<S>, sum[r][t], start[1] - *start - e - t * N<S>);
  }
}
// The groups from g to end, which have equal columns.
template <class S>
void gradient_of_panels(const Gradient<S> &all, int g, int end) {
  const tk_matrix &m = *all.matrix;
  const int32_t *start = m.starts + m.rows[m.bounds[g]], *columns = m.columns + *start, edges = start[1] - *start;
  alignas(64) S panel[PANEL_BYTES / sizeof(S)];
  for (int low = 0, high; low < all.tiles; low = high) {
    high = std::min(all.tiles, low + std::max(1, PANEL_SAMPLES / int(all.width)));
    const Gradient<S> k = all.part(low, high);
    for (int e = 0; e < edges; e += PANEL * N<S>) {
      for (int tile = 0; tile < k.tiles; tile++)
        for (int t = 0; t < PANEL; t++) {
          const S *from[N<S>], *x = k.x + tile * k.x_tile;
          for (int i = 0; i < N<S>; i++) from[i] = x + columns[std::min(e + t * N<S> + i, edges - 1)] * k.width;
          for (int c = 0; c < k.columns_of(tile); c += N<S>)
            transpose_block(from, N<S>, c, panel + ((tile * k.width + c) * PANEL + t) * N<S>, PANEL * N<S>);
        }
      for_groups(m, g, end, [&](auto count, const int32_t *rows) { gradient_of_panel<S, count()>(k, rows, panel, e); });
    }
  }
}
// The groups from low to high; `chunk` tiles of inputs stay in the cache until all groups have read them.
template <class S>
void gradient(const Gradient<S> &all, int chunk, int low, int high) {
  const tk_matrix &m = *all.matrix;
  for (int tile = 0; tile < all.tiles; tile += chunk) {
    const Gradient<S> k = all.part(tile, std::min(all.tiles, tile + chunk));
    for (int g = low, end; g < high; g = end) {
      end = part_end(m, g, high);
      if (!m.ends[g]) for_groups(m, g, end, [&](auto count, const int32_t *rows) { gradient_of_rows<S, count()>(k, rows); });
      else if (tile == 0) gradient_of_panels(all, g, end);
    }
  }
}

// ---- between arrays and tiles ----

// The number of the sample at a place of the batch.
INLINE int64_t sample(const tk_job &j, const int64_t *index, int64_t place, int network) {
  if (!index) return place;
  return j.shared ? index[place] : index[place * j.networks + network];
}

// Where a part of the batch lies: the columns from first to last of a tile, of which samples fill those below `filled`.
struct Part {
  int tile, first, last, filled;
};

// Four features in bytes are transposed as one number.
INLINE void pack_block(const tk_job &j, const uint8_t *const *from, int filled, int f, float *to) {
  V<float> v[N<float>] = {}, shift{};
  for (int i = 0; i < filled; i++) {
    memcpy(v + i, from[i] + f, sizeof v[i]);
    shift[i] = float(j.x_shift);
  }
  transpose<float>(v);
  for (int i = 0; i < N<float>; i++) {
    Vector<float>::I four;
    memcpy(&four, v + i, sizeof four);
    UNROLL for (int k = 0; k < 4; k++) {
      const V<float> bytes = __builtin_convertvector((four >> (8 * k)) & 255, V<float>);
      store(to + (4 * i + k) * long(j.width), (bytes - shift) * splat(float(j.x_scale)));
    }
  }
}

// Features low to high of an array -> a part of its tile; `network` picks the samples if each has its own.
template <class S, class Q>
void pack(const tk_job &j, const tk_array &a, const int64_t *index, int network, S *tile, int low, int high, Part p) {
  const Q *data = static_cast<const Q *>(a.data);
  const long width = j.width;
  auto number = [&](Q a) { return std::is_same_v<S, Q> ? S(a) : (a - S(j.x_shift)) * S(j.x_scale); };
  auto start = [&](int column) { return data + sample(j, index, p.tile * j.width + column, network) * a.sample; };
  if (a.feature != 1) {
    const bool rows = std::is_same_v<S, Q> && a.sample == 1 && !index;
    const int end = std::max(p.first, std::min(p.last, p.filled));
    for (int f = low; f < high; f++) {
      S *row = tile + f * width;
      if (rows) memcpy(row + p.first, data + f * a.feature + p.tile * width + p.first, (end - p.first) * sizeof(S));
      for (int c = rows ? end : p.first; c < p.last; c++) row[c] = c < p.filled ? number(start(c)[f * a.feature]) : S(0);
    }
    return;
  }
  for (int c = p.first; c < p.last; c += N<S>) {
    const int filled = std::min(N<S>, p.filled - c);
    const Q *from[N<S>] = {};
    for (int i = 0; i < filled; i++) from[i] = start(c + i);
    constexpr int block = std::is_same_v<S, Q> ? N<S> : 4 * N<S>;
    int f = low;
    while (f < high && high - low >= block) {
      f = std::min(f, high - block);  // the last block may begin inside the one before
      if constexpr (std::is_same_v<S, Q>) transpose_block(from, filled, f, tile + f * width + c, width);
      else pack_block(j, from, filled, f, tile + f * width + c);
      f += block;
    }
    for (; f < high; f++)
      for (int i = 0; i < N<S>; i++) tile[f * width + c + i] = i < filled ? number(from[i][f]) : S(0);
  }
}

template <class S>
void unpack(const S *tile, long width, const tk_array &a, int low, int high, Part p) {
  S *data = static_cast<S *>(a.data) + p.tile * width * a.sample;
  const int end = std::min(p.last, p.filled);
  if (a.sample == 1) {
    if (end > p.first)
      for (int f = low; f < high; f++)
        memcpy(data + f * a.feature + p.first, tile + f * width + p.first, (end - p.first) * sizeof(S));
    return;
  }
  for (int c = p.first; c < end; c += N<S>) {
    int f = low;
    if (a.feature == 1 && c + N<S> <= end) {
      for (; f + N<S> <= high; f += N<S>) {
        const S *from[N<S>];
        for (int i = 0; i < N<S>; i++) from[i] = tile + (f + i) * width;
        transpose_block(from, N<S>, c, data + f + c * a.sample, a.sample);
      }
    }
    for (; f < high; f++)
      for (int i = c; i < std::min(c + N<S>, end); i++) data[f * a.feature + i * a.sample] = tile[f * width + i];
  }
}

// ---- cross-entropy ----

INLINE V<double> exponential(V<double> x) {
  for (int i = 0; i < N<double>; i++) x[i] = exp(x[i]);
  return x;
}
INLINE V<float> exponential(V<float> x) {  // of numbers <= 0, to 1e-7: a polynomial after Cephes, and a power of 2
  typedef Vector<float>::I I;
  const V<float> low = splat(-87.f);
  x = x < low ? low : x;
  const V<float> whole = (x * 1.44269504f + 12582912.f) - 12582912.f;  // rounded
  const V<float> f = (x - whole * 0.693359375f) + whole * 2.12194440e-4f;
  V<float> p = splat(1.9875691500E-4f);
  p = p * f + 1.3981999507E-3f;
  p = p * f + 8.3334519073E-3f;
  p = p * f + 4.1665795894E-2f;
  p = p * f + 1.6666665459E-1f;
  p = p * f + 5.0000001201E-1f;
  p = p * f * f + f + 1.f;
  const I power = (__builtin_convertvector(whole, I) + 127) << 23;
  V<float> scale;
  memcpy(&scale, &power, sizeof scale);
  return p * scale;
}

template <class S>
void loss(const tk_job &j, const tk_layer &last, int network, const S *y, S *dy, S *losses, Part p) {
  const long width = j.width;
  const S each = S(1) / S(j.batch);
  for (int c = p.first; c < p.last; c += N<S>) {
    V<S> most = load(y + c), sum{};
    for (int k = 1; k < last.out; k++) {
      const V<S> v = load(y + k * width + c);
      most = v > most ? v : most;
    }
    for (int k = 0; k < last.out; k++) {
      const V<S> v = exponential(load(y + k * width + c) - most);
      sum += v;
      store(dy + k * width + c, v);
    }
    V<S> scale = splat(each) / sum;
    for (int i = std::max(0, p.filled - c); i < N<S>; i++) scale[i] = 0;
    for (int k = 0; k < last.out; k++) store(dy + k * width + c, load(dy + k * width + c) * scale);
    for (int i = 0; i < N<S> && c + i < p.filled; i++) {
      const int place = p.tile * j.width + c + i;
      const long own = j.labels[sample(j, j.index, place, network)] * width + c + i;
      losses[place] = log(sum[i]) - (y[own] - most[i]);
      dy[own] -= each;
    }
  }
}

// ---- optimizers ----

template <class S>
void optimize(const tk_job &j, S *__restrict p, const S *__restrict g, S *__restrict m, S *__restrict v, double decay,
              long low, long high) {
  const S rate = j.rate, l2 = decay, b1 = j.beta1, b2 = j.beta2, eps = j.epsilon;
  if (j.optimizer == TK_SGD) {
    if (m)
      for (long i = low; i < high; i++) p[i] -= rate * (m[i] = b1 * m[i] + (g[i] + l2 * p[i]));
    else
      for (long i = low; i < high; i++) p[i] -= rate * (g[i] + l2 * p[i]);
    return;
  }
  const bool apart = j.optimizer == TK_ADAMW;
  const S keep = apart ? S(1 - j.rate * decay) : S(1), added = apart ? S(0) : l2;
  const S c1 = S(1 - j.beta1), c2 = S(1 - j.beta2), size = S(j.rate / j.correction1), root = S(1 / sqrt(j.correction2));
  for (long i = low; i < high; i++) {
    const S d = g[i] + added * p[i];
    m[i] += c1 * (d - m[i]);
    v[i] = b2 * v[i] + c2 * d * d;
    p[i] = keep * p[i] - size * m[i] / (std::sqrt(v[i]) * root + eps);
  }
}

// ---- a job ----

// The threads that work on one network: some share its columns, those of one column share its rows.
struct Share {
  int thread, threads, by_column, by_row;
  tk_team *team;
  void meet() const {
    if (threads > 1) tk_meet(team);
  }
  void meet_in_row() const {
    if (by_row > 1) tk_meet(team);
  }
  int column() const { return thread % by_column; }
  int row() const { return thread / by_column; }
  bool idle() const { return row() >= by_row; }
};

// The groups of part i of n, of about equal work.
INLINE int bound(const tk_matrix &m, int i, int n) {
  const int64_t wanted = int64_t(m.work[m.groups]) * i / n;
  return int(std::lower_bound(m.work, m.work + m.groups + 1, wanted) - m.work);
}
INLINE long cut(long total, int i, int n) { return total * i / n; }

template <class S>
struct Network {
  const tk_job &j;
  int number, slot;  // of its parameters and of its gradients, which are the thread's if there are several networks
  S *x, *saved, *scratch, *losses;
  Share share;

  long tile_size(int features) const { return long(features) * j.width; }
  const tk_layer &last() const { return j.layer[j.layers - 1]; }
  template <class T>
  T *own(T *whole, int64_t size) const {
    return whole ? whole + size * number : nullptr;
  }
  S *values(const tk_layer &l) const { return own(static_cast<S *>(l.values), l.edges); }
  S *bias(const tk_layer &l) const { return own(static_cast<S *>(l.bias), l.out); }

  // Calls `work` for each of this thread's parts of the batch; threads that share rows make equally many calls.
  template <class W>
  void for_each_part(W work) const {
    const int vectors = divided_up(j.batch, N<S>), per_tile = j.width / N<S>;
    int most = 0, low = 0, high = 0;
    for (int i = 0; i < share.by_column; i++) {
      const int a = cut(vectors, i, share.by_column), b = cut(vectors, i + 1, share.by_column);
      most = std::max(most, b > a ? (b - 1) / per_tile - a / per_tile + 1 : 0);
      if (i == share.column() && !share.idle()) low = a, high = b;
    }
    for (int n = 0; n < most; n++) {
      const int tile = low / per_tile, end = std::min(high, (tile + 1) * per_tile);
      const int filled = std::min(j.width, j.batch - tile * j.width);
      work(Part{tile, (low - tile * per_tile) * N<S>, (end - tile * per_tile) * N<S>, filled}, low < end);
      low = std::max(low, end);
    }
  }

  void multiply(const tk_matrix &m, const S *values, const S *bias, const S *x, S *y, const S *gate, int relu, Part p) const {
    product<S>({&m, values, bias, x, gate, y, j.width, relu, p.filled}, bound(m, share.row(), share.by_row),
               bound(m, share.row() + 1, share.by_row), p.first / N<S>, p.last / N<S>);
  }
  int low(int features) const { return cut(features / N<S>, share.row(), share.by_row) * N<S>; }
  int high(int features) const {
    return share.row() + 1 == share.by_row ? features : cut(features / N<S>, share.row() + 1, share.by_row) * N<S>;
  }

  void pack_x(Part p) const {
    const int in = j.layer[0].in;
    S *tile = x + p.tile * tile_size(in);
    if constexpr (sizeof(S) == 4)
      if (j.x_bytes) return pack<S, uint8_t>(j, j.x, j.index, number, tile, low(in), high(in), p);
    pack<S, S>(j, j.x, j.index, number, tile, low(in), high(in), p);
  }

  void forward(Part p, bool mine) const {
    if (j.what & TK_PACK && (j.networks == 1 || !j.shared)) {
      if (mine) pack_x(p);
      share.meet_in_row();
    }
    const S *from = x;
    for (int i = 0; i < j.layers; i++) {
      const tk_layer &l = j.layer[i];
      if (mine)
        multiply(l.weight, values(l), bias(l), from + p.tile * tile_size(l.in), saved + l.y + p.tile * tile_size(l.out),
                 nullptr, l.relu, p);
      from = saved + l.y;
      share.meet_in_row();
    }
    if (mine && j.what & TK_UNPACK)
      unpack<S>(from + p.tile * tile_size(last().out), j.width, j.y, low(last().out), high(last().out), p);
  }

  void output_gradient(Part p, bool mine) const {
    const tk_layer &l = last();
    const S *y = saved + l.y + p.tile * tile_size(l.out);
    S *dy = scratch + l.dy + p.tile * tile_size(l.out);
    const bool whole = j.what & TK_LOSS;  // the loss needs all rows of a column
    const int from = whole ? 0 : low(l.out), to = whole ? l.out : high(l.out);
    if (mine && whole && share.row() == 0) loss<S>(j, l, number, y, dy, losses, p);
    if (mine && !whole) pack<S, S>(j, j.dy, nullptr, 0, dy, from, to, p);
    if (mine && l.relu && (!whole || share.row() == 0))
      for (int f = from; f < to; f++)
        for (long c = f * long(j.width) + p.first; c < f * long(j.width) + p.last; c += N<S>)
          store(dy + c, gated<S>(load(dy + c), load(y + c)));
    share.meet_in_row();
  }

  void inputs_gradient(Part p, bool mine) const {
    for (int i = j.layers - 1; i >= (j.what & TK_INPUT ? 0 : 1); i--) {
      const tk_layer &l = j.layer[i];
      S *to = scratch + (i ? j.layer[i - 1].dy : j.dx_tiles);
      const S *gate = i && j.layer[i - 1].relu ? saved + j.layer[i - 1].y + p.tile * tile_size(l.in) : nullptr;
      if (mine)
        multiply(l.transposed, scratch + l.ordered, nullptr, scratch + l.dy + p.tile * tile_size(l.out),
                 to + p.tile * tile_size(l.in), gate, 0, p);
      share.meet_in_row();
      if (mine && i == 0) unpack<S>(to + p.tile * tile_size(l.in), j.width, j.dx, low(l.in), high(l.in), p);
    }
  }

  void values_gradient(const tk_layer &l, const S *x) const {
    const int chunk = std::max<long>(1, CACHED / long(sizeof(S) * tile_size(l.in)));
    const int filled = std::min(j.width, j.batch - (j.tiles - 1) * j.width);
    const Gradient<S> all{&l.weight, x, scratch + l.dy, tile_size(l.in), tile_size(l.out), j.width, j.tiles,
                          divided_up(filled, N<S>), static_cast<S *>(l.values_grad) + l.edges * slot, false};
    gradient(all, chunk, bound(l.weight, share.thread, share.threads), bound(l.weight, share.thread + 1, share.threads));
  }
  void bias_gradient(const tk_layer &l) const {
    S *out = static_cast<S *>(l.bias_grad) + l.out * slot;
    for (int o = cut(l.out, share.thread, share.threads); o < cut(l.out, share.thread + 1, share.threads); o++) {
      V<S> sum{};
      for (int tile = 0; tile < j.tiles; tile++) {
        const int filled = std::min(j.width, j.batch - tile * j.width);
        const S *row = scratch + l.dy + tile * tile_size(l.out) + o * long(j.width);
        for (int c = 0; c < filled; c += N<S>) sum += load(row + c);
      }
      S total = 0;
      for (int i = 0; i < N<S>; i++) total += sum[i];
      out[o] = total;
    }
  }

  // The values in the order of the transposed matrix: jumping among them once is faster than for each tile.
  void order_values() const {
    for (int i = j.what & TK_INPUT ? 0 : 1; i < j.layers; i++) {
      const tk_layer &l = j.layer[i];
      const S *from = values(l);
      const int32_t *order = l.transposed.order;
      S *to = scratch + l.ordered;
      const long end = cut(l.edges, share.thread + 1, share.threads);
      for (long e = cut(l.edges, share.thread, share.threads); e < end; e++) {
        if (l.edges * long(sizeof(S)) >= CACHED) __builtin_prefetch(from + order[std::min(e + 64, end - 1)]);
        to[e] = from[order[e]];
      }
    }
    share.meet();
  }

  void run() const {
    if (j.what & (TK_BACKWARD | TK_INPUT)) order_values();
    for_each_part([&](Part p, bool mine) {
      if (j.what & TK_FORWARD) forward(p, mine);
      if (j.what & (TK_LOSS | TK_GRADIENT)) output_gradient(p, mine);
      if (j.what & (TK_BACKWARD | TK_INPUT)) inputs_gradient(p, mine);
    });
    if (!(j.what & TK_BACKWARD)) return;
    share.meet();
    if (j.what & TK_LOSS && share.thread == 0) {
      double sum = 0;
      for (int s = 0; s < j.batch; s++) sum += losses[s];
      j.loss[number] = sum / j.batch;
    }
    const S *from = x;
    for (int i = 0; i < j.layers; i++) {
      const tk_layer &l = j.layer[i];
      if (l.wanted & TK_VALUES) values_gradient(l, from);
      if (l.wanted & TK_BIAS) bias_gradient(l);
      from = saved + l.y;
    }
    if (j.what & TK_OPTIMIZE) {
      share.meet();
      for (int i = 0; i < j.layers; i++) update(j.layer[i]);
    }
  }
  void update(const tk_layer &l) const {
    const int wanted[] = {TK_VALUES, TK_BIAS};
    void *parameters[] = {l.values, l.bias}, *grads[] = {l.values_grad, l.bias_grad};
    const int64_t sizes[] = {l.edges, l.out};
    for (int k = 0; k < 2; k++)
      if (l.wanted & wanted[k])
        optimize<S>(j, own(static_cast<S *>(parameters[k]), sizes[k]), static_cast<S *>(grads[k]) + sizes[k] * slot,
                    own(static_cast<S *>(l.moments[2 * k]), sizes[k]), own(static_cast<S *>(l.moments[2 * k + 1]), sizes[k]),
                    l.decay[k], cut(sizes[k], share.thread, share.threads), cut(sizes[k], share.thread + 1, share.threads));
  }
};

template <class S>
void step(const void *job, int thread, int threads, tk_team *team) {
  const tk_job &j = *static_cast<const tk_job *>(job);
  S *saved = static_cast<S *>(j.saved), *scratch = static_cast<S *>(j.scratch), *losses = static_cast<S *>(j.losses);
  const int vectors = divided_up(j.batch, N<S>);
  const int by_column = std::min(threads, std::max(1, vectors / 3));
  const Share all{thread, threads, by_column, threads / by_column, team};
  if (j.networks == 1) {
    Network<S>{j, 0, 0, saved, saved, scratch, losses, all}.run();
    return;
  }
  if (j.shared) {  // all read the tiles of the first thread
    const Network<S> first{j, 0, 0, saved, saved, scratch, losses, {thread, threads, threads, 1, team}};
    first.for_each_part([&](Part p, bool mine) { if (mine) first.pack_x(p); });
    if (threads > 1) tk_meet(team);
  }
  for (int k = cut(j.networks, thread, threads); k < cut(j.networks, thread + 1, threads); k++) {
    S *own = saved + thread * j.saved_size;
    const Network<S> network{j, k, thread, j.shared ? saved : own, own, scratch + thread * j.scratch_size,
                             losses + int64_t(thread) * j.batch, {0, 1, 1, 1, nullptr}};
    network.run();
  }
}

// ---- inference of the Graph Challenge ----

struct Block {
  const tk_inference &job;
  int &images;
  float *const base;
  int32_t *const slots, *const left;
  int64_t *const from, *const to;  // where images are, before and after others are dropped
  static constexpr int width = TK_INFERENCE_VECTORS * N<float>;

  Block(const tk_inference &j, int64_t number, int thread)
      : job(j), images(j.images[number]), base(j.activations + number * (j.tiles + 1) * j.features * width),
        slots(j.slots + number * (j.tiles + 1)), left(j.left + number * j.tiles * width),
        from(j.places + int64_t(thread) * 2 * j.tiles * width), to(from + j.tiles * width) {
    for (int t = 0; t <= j.tiles; t++) slots[t] = t;
    for (int i = 0; i < images; i++) left[i] = i;
  }
  int filled(int tile) const { return std::min(width, images - tile * width); }
  int64_t start(int tile) const { return slots[tile] * job.features * width; }

  void cross(const tk_layer &l) {
    for (int t = 0; t * width < images; t++) {
      const Product<float> p{&l.weight, static_cast<const float *>(l.values), static_cast<const float *>(l.bias),
                             base + start(t), nullptr, base + start(job.tiles), width, 1, filled(t), job.clip};
      product(p, 0, l.weight.groups, 0, divided_up(filled(t), N<float>));
      std::swap(slots[t], slots[job.tiles]);
    }
  }
  int find_left(int features) {  // the images whose numbers are not all 0 -> from
    int count = 0;
    for (int t = 0; t * width < images; t++) {
      const int vectors = divided_up(filled(t), N<float>);
      const float *tile = base + start(t);
      V<float> sums[TK_INFERENCE_VECTORS] = {};  // of numbers that are not negative
      for (int f = 0; f < features; f++)
        for (int v = 0; v < vectors; v++) sums[v] += load(tile + f * width + v * N<float>);
      for (int c = 0; c < filled(t); c++) {
        if (sums[c / N<float>][c % N<float>] == 0) continue;
        from[count] = t * width + c;
        count++;
      }
    }
    return count;
  }
  void keep(int count, int features) {  // the images in `from`
    for (int i = 0; i < count; i++) {
      left[i] = left[from[i]];
      from[i] = start(int(from[i]) / width) + from[i] % width;
      to[i] = start(i / width) + i % width;
    }
    for (int f = 0; f < features; f++)
      for (int i = 0; i < count; i++) base[to[i] + f * width] = base[from[i] + f * width];
    images = count;
  }
};

void infer(const void *job, int thread, int threads, tk_team *) {
  const tk_inference &j = *static_cast<const tk_inference *>(job);
  for (int b = thread; b < j.blocks; b += threads) {
    Block block(j, b, thread);
    for (int l = 0, look = 0; l < j.layers && block.images; l++) {
      block.cross(j.layer[l]);
      if (l < look && l + 1 < j.layers) continue;
      const int count = block.find_left(j.layer[l].out);
      look = 50 * count < 49 * block.images ? l + 1 : 2 * l + 1;  // later if few are dropped
      if (l + 1 == j.layers || 4 * count <= 3 * block.images) block.keep(count, j.layer[l].out);
    }
  }
}

}  // namespace

extern const tk_build TK_BUILD;
const tk_build TK_BUILD = {TK_BYTES, {step<float>, step<double>}, infer};
