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
INLINE V<S> relu(V<S> v) {
  return V<S>{} > v ? V<S>{} : v;  // a nan stays one, as in torch
}
template <class S>
INLINE V<S> gated(V<S> v, V<S> y) {
  return y <= V<S>{} ? V<S>{} : v;
}

constexpr int MOST_VECTORS = 8;  // in a tile
// How many vectors of a tile fit into the registers as sums of 1 to 4 rows.
constexpr int FITTING[2][4] = {{8, 6, 4, 2}, {8, 8, 8, 6}};
constexpr int fitting(int rows) { return FITTING[TK_BYTES == 64][rows - 1]; }
// How many columns are multiplied with 1 to 4 rows at once, in sums over the batch.
constexpr int ABREAST[2][4] = {{8, 4, 4, 2}, {8, 8, 8, 4}};
template <class S>
constexpr int abreast(int rows) {
  return std::min(N<S>, ABREAST[TK_BYTES == 64][rows - 1]);
}
constexpr long CACHED = 1536 << 10;  // bytes of inputs whose gradients of values are summed in registers

INLINE int divided_up(int a, int b) { return (a + b - 1) / b; }

// ---- y = W x on one tile ----

template <class S>
struct Product {
  const tk_matrix *matrix;
  const S *values, *bias, *x, *gate;  // bias and gate may be null; a gate that is not positive makes y 0
  S *y;
  long width;
  int relu, filled;  // columns of the tile that samples fill
  S clip = 0;        // if positive: the largest number of y
};

template <class S, int R, int T>
void strip(const Product<S> &p, const int32_t *rows, long column) {
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
  for (int e = 0; e < edges; e++) {
    const S *from = x + columns[e] * width;
    V<S> weight[R];
    UNROLL for (int r = 0; r < R; r++) weight[r] = splat<S>(own[r][e]);
    UNROLL for (int t = 0; t < T; t++) {
      const V<S> v = load(from + t * N<S>);
      UNROLL for (int r = 0; r < R; r++) sum[r][t] += weight[r] * v;
    }
  }
  for (int r = 0; r < R; r++) {
    const long to = rows[r] * width + column;
    for (int t = 0; t < T; t++) {
      V<S> v = p.relu ? relu<S>(sum[r][t]) : sum[r][t];
      if (p.clip > 0) v = v > p.clip ? splat<S>(p.clip) : v;
      if (p.gate) v = gated<S>(v, load(p.gate + to + t * N<S>));
      store(p.y + to + t * N<S>, v);
    }
  }
}

template <class S>
using Strip = void (*)(const Product<S> &, const int32_t *, long);
template <class S, int R, int... T>
INLINE Strip<S> strip_of(int t, std::integer_sequence<int, T...>) {
  static constexpr Strip<S> all[] = {strip<S, R, T + 1>...};
  return all[t - 1];
}
template <class S, int R>
INLINE void group(const Product<S> &p, const int32_t *rows, int first, int last) {
  for (int v = first, parts = divided_up(last - first, fitting(R)); v < last; parts--) {
    const int t = divided_up(last - v, parts);
    strip_of<S, R>(t, std::make_integer_sequence<int, fitting(R)>{})(p, rows, v * N<S>);
    v += t;
  }
}
// The rows of the groups from low to high, and the vectors from first to last of the tile.
template <class S>
void product(const Product<S> &p, int low, int high, int first, int last) {
  for (int g = low; g < high; g++) {
    const int32_t *rows = p.matrix->rows + p.matrix->bounds[g];
    const int count = p.matrix->bounds[g + 1] - p.matrix->bounds[g];
    switch (count) {
      case 1: group<S, 1>(p, rows, first, last); break;
      case 2: group<S, 2>(p, rows, first, last); break;
      case 3: group<S, 3>(p, rows, first, last); break;
      case 4: group<S, 4>(p, rows, first, last); break;
    }
    for (int r = 0; r < count; r++)
      for (long c = p.filled; c < long(last) * N<S>; c++) p.y[rows[r] * p.width + c] = 0;
  }
}

// ---- gradients of values: sums over the batch ----

template <class S, int D, int... L>
INLINE V<S> fold(V<S> a, V<S> b, std::integer_sequence<int, L...>) {
  return __builtin_shufflevector(a, b, ((L & D) ? N<S> + L : L)...) +
         __builtin_shufflevector(a, b, ((L & D) ? N<S> + (L ^ D) : (L ^ D))...);
}
template <class S, int D>
INLINE void fold_all(V<S> *v) {  // the sum of all numbers of v[i] -> number i of v[0]
  UNROLL for (int i = 0; i < D; i++) v[i] = fold<S, D>(v[i], v[i + D], std::make_integer_sequence<int, N<S>>{});
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
};

template <class S, int R, int C>
INLINE void dots(const Gradient<S> &k, const int32_t *rows, const int32_t *columns, V<S> *sums) {
  V<S> sum[R][C] = {};
  const S *x[C], *dy[R];
  for (int c = 0; c < C; c++) x[c] = k.x + columns[c] * k.width;
  for (int r = 0; r < R; r++) dy[r] = k.dy + rows[r] * k.width;
  for (int tile = 0; tile < k.tiles; tile++) {
    const long end = tile + 1 < k.tiles ? k.width : long(k.last_vectors) * N<S>;
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
void gradient_of_rows(const Gradient<S> &k, const int32_t *rows) {
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
      S *to = k.out + starts[rows[r]] + e;
      const V<S> sum = sums[r * N<S>];
      if (left == N<S>) store(to, k.add ? load(to) + sum : sum);
      else for (int c = 0; c < left; c++) to[c] = k.add ? to[c] + sum[c] : sum[c];
    }
  }
}
template <class S>
void gradient(const Gradient<S> &k, int low, int high) {
  for (int g = low; g < high; g++) {
    const int32_t *rows = k.matrix->rows + k.matrix->bounds[g];
    switch (k.matrix->bounds[g + 1] - k.matrix->bounds[g]) {
      case 1: gradient_of_rows<S, 1>(k, rows); break;
      case 2: gradient_of_rows<S, 2>(k, rows); break;
      case 3: gradient_of_rows<S, 3>(k, rows); break;
      case 4: gradient_of_rows<S, 4>(k, rows); break;
    }
  }
}

// ---- between arrays and tiles ----

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

// The number of the sample at a place of the batch.
INLINE int64_t sample(const tk_job &j, const int64_t *index, int64_t place, int network) {
  if (!index) return place;
  return j.shared ? index[place] : index[place * j.networks + network];
}

// Where a part of the batch lies: the columns from first to last of a tile, of which samples fill those below `filled`.
struct Part {
  int tile, first, last, filled;
};

template <class S>
INLINE S number(S a, const tk_job &) {
  return a;
}
template <class S>
INLINE S number(uint8_t a, const tk_job &j) {
  return (a - S(j.x_shift)) * S(j.x_scale);
}

// N features of N samples, from feature f on -> N columns, of which those that are not filled become 0.
template <class S>
INLINE void pack_block(const tk_job &j, const S *const *from, int filled, int f, S *to) {
  V<S> v[N<S>];
  UNROLL for (int i = 0; i < N<S>; i++) v[i] = i < filled ? load(from[i] + f) : V<S>{};
  transpose<S>(v);
  UNROLL for (int i = 0; i < N<S>; i++) store(to + i * long(j.width), v[i]);
}
// The same for 4 N features in bytes: four of them are transposed as one number.
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
  auto start = [&](int column) { return data + sample(j, index, p.tile * j.width + column, network) * a.sample; };
  if (a.feature != 1) {
    const bool rows = std::is_same_v<S, Q> && a.sample == 1 && !index;
    const int end = std::max(p.first, std::min(p.last, p.filled));
    for (int f = low; f < high; f++) {
      S *row = tile + f * width;
      if (rows) memcpy(row + p.first, data + f * a.feature + p.tile * width + p.first, (end - p.first) * sizeof(S));
      for (int c = rows ? end : p.first; c < p.last; c++) row[c] = c < p.filled ? number<S>(start(c)[f * a.feature], j) : S(0);
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
      pack_block(j, from, filled, f, tile + f * width + c);
      f += block;
    }
    for (; f < high; f++)
      for (int i = 0; i < N<S>; i++) tile[f * width + c + i] = i < filled ? number<S>(from[i][f], j) : S(0);
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
        V<S> v[N<S>];
        UNROLL for (int i = 0; i < N<S>; i++) v[i] = load(tile + (f + i) * width + c);
        transpose<S>(v);
        UNROLL for (int i = 0; i < N<S>; i++) store(data + f + (c + i) * a.sample, v[i]);
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
    for (int i = 0; i < N<S>; i++) {
      const int place = p.tile * j.width + c + i;
      if (place >= j.batch) {
        scale[i] = 0;
        continue;
      }
      const long own = j.labels[sample(j, j.index, place, network)] * width + c + i;
      losses[place] = log(sum[i]) - (y[own] - most[i]);
    }
    for (int k = 0; k < last.out; k++) store(dy + k * width + c, load(dy + k * width + c) * scale);
    for (int i = 0; i < N<S> && c + i < p.filled; i++) {
      const int place = p.tile * j.width + c + i;
      dy[j.labels[sample(j, j.index, place, network)] * width + c + i] -= each;
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
    const int low = bound(l.weight, share.thread, share.threads);
    const int high = bound(l.weight, share.thread + 1, share.threads);
    for (int tile = 0; tile < j.tiles; tile += chunk) {
      const int tiles = std::min(chunk, j.tiles - tile);
      const int filled = std::min(j.width, j.batch - (tile + tiles - 1) * j.width);
      gradient<S>({&l.weight, x + tile * tile_size(l.in), scratch + l.dy + tile * tile_size(l.out), tile_size(l.in),
                   tile_size(l.out), j.width, tiles, divided_up(filled, N<S>),
                   static_cast<S *>(l.values_grad) + l.edges * slot, tile > 0}, low, high);
    }
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
      for (long e = cut(l.edges, share.thread, share.threads); e < cut(l.edges, share.thread + 1, share.threads); e++)
        to[e] = from[order[e]];
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
