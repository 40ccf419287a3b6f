// Edges of layers: filled in, checked, counted and multiplied by, from rows in memory or rows computed one at a time.
#include <stdlib.h>

#include <algorithm>

#include "topokit.h"

#ifdef TK_X86
#define CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define CLONES
#endif

namespace {

CLONES int rises(const uint64_t *numbers, int64_t count) {  // whether each is more than the one before
  int bad = 0;
  for (int64_t i = 1; i < count; i++) bad |= numbers[i] <= numbers[i - 1];
  return !bad;
}

inline uint64_t place(uint64_t target) { return target + (target >> 10 << 4); }

// Write the targets of a row of a circulant layer, ascending. All numbers are below 2^32, whose division is faster.
template <class T>
inline void compute_row(const tk_rows &r, uint32_t row, T *out) {
  const uint32_t nodes = uint32_t(r.nodes), radix = uint32_t(r.radix), step = uint32_t(r.step), copy = row / nodes;
  const uint64_t node = row - copy * nodes, place = uint64_t(r.place), span = (radix - 1) * place;
  const uint64_t start = r.direction > 0 ? node : node >= span ? node - span : node + nodes - span;
  const uint32_t below = start + span < nodes ? radix : uint32_t(nodes - start - 1) / uint32_t(place) + 1;
  const uint64_t shift = step == 1 ? 0 : uint64_t(copy % step) * nodes;  // to the first of the copies that are joined
  const T further = T(uint64_t(step) * nodes), first = T(start + shift);
  if (radix == 2) {  // the same as below, without loops inside a loop
    const T other = T(first + place - (below == 1 ? nodes : 0)), low = std::min(first, other), high = std::max(first, other);
    const int64_t joined = r.joined;
    for (int64_t k = 0; k < joined; k++) {
      const T more = T(k) * further;
      out[2 * k] = low + more, out[2 * k + 1] = high + more;
    }
    return;
  }
  for (uint32_t d = below; d < radix; d++) out[d - below] = T(first + d * place - nodes);
  for (uint32_t d = 0; d < below; d++) out[radix - below + d] = T(first + d * place);
  for (int64_t made = 1; made < r.joined; made *= 2) {  // twice as many at a time
    const int64_t count = std::min(made, r.joined - made) * radix;
    T *next = out + made * radix;
    for (int64_t e = 0; e < count; e++) next[e] = out[e] + T(made) * further;
  }
}
inline uint32_t plain_row(const tk_rows &r, int64_t source) { return uint32_t(r.order ? r.order[source] : source); }

struct Row {
  const uint64_t *first;
  int64_t count;
  const uint64_t *begin() const { return first; }
  const uint64_t *end() const { return first + count; }
};
inline Row row_of(const tk_rows &r, int64_t source, uint64_t *room) {
  if (r.indices) return {r.indices + r.indptr[source], int64_t(r.indptr[source + 1] - r.indptr[source])};
  compute_row(r, plain_row(r, source), room);
  return {room, r.radix * r.joined};
}

// Numbers of nodes, at first 0. Targets of a node often are a power of two apart, where their numbers would push each
// other out of the cache: so there is a gap after every 1,024.
template <class T>
struct Numbers {
  T *data;
  explicit Numbers(int64_t size) : data(static_cast<T *>(calloc(place(uint64_t(size)) + 1, sizeof(T)))) {}
  template <class S>
  Numbers(const S *from, int64_t size) : Numbers(size) {
    for (int64_t i = 0; data && i < size; i++) (*this)[uint64_t(i)] = T(from[i]);
  }
  Numbers(const Numbers &) = delete;
  ~Numbers() { free(data); }
  T &operator[](uint64_t i) const { return data[place(i)]; }
};

int64_t row_size(const tk_rows &r) { return r.indices ? 0 : r.radix * r.joined; }

CLONES void fill(const tk_rows &r, uint64_t *indices) {
  const int64_t size = row_size(r);
  for (int64_t source = 0; source < r.sources; source++) compute_row(r, plain_row(r, source), indices + source * size);
}

// Compute, check and count the edges of a block of sources. Where each edge's target is the one after the edge's of the
// source before, the counters of a block are next to each other and are added to many at a time.
CLONES int survey_block(const tk_rows &r, const uint32_t *plain, int64_t count, uint32_t *rows, uint32_t *counts) {
  const int64_t size = row_size(r);
  uint32_t bad = 0, apart = 0;
  for (int64_t i = 0; i < count; i++) compute_row(r, plain[i], rows + i * size);
  for (int64_t i = 0; i < count; i++) {  // a loop of its own, as numbers that were just written are slow to read
    const uint32_t *row = rows + i * size;
    bad |= row[size - 1] >= uint64_t(r.targets);
    for (int64_t e = 1; e < size; e++) bad |= row[e] <= row[e - 1];
    for (int64_t e = 0; i && e < size; e++) apart |= row[e] ^ (row[e - size] + 1);
  }
  if (bad) return 0;
  for (int64_t e = 0; !apart && e < size; e++) {
    uint32_t *first = counts + rows[e];
    for (int64_t i = 0; i < count; i++) first[i]++;
  }
  for (int64_t e = 0; apart && e < count * size; e++) counts[rows[e]]++;
  return 1;
}

// x and y have `width` numbers for each node, with the gaps of `Numbers` between nodes. WIDTH is 0 or known to be this.
template <int WIDTH>
inline void multiply(const tk_rows &r, int reverse, int64_t any_width, const uint64_t *x, uint64_t *y, uint64_t *room) {
  const uint64_t width = WIDTH ? WIDTH : uint64_t(any_width);
  for (int64_t source = 0; source < r.sources; source++) {
    const uint64_t *own_x = x + place(uint64_t(source)) * width;
    uint64_t *own_y = y + place(uint64_t(source)) * width, sums[WIDTH ? WIDTH : 1] = {};
    for (uint64_t target : row_of(r, source, room)) {
      const uint64_t *from = reverse ? x + place(target) * width : own_x;
      uint64_t *to = !reverse ? y + place(target) * width : WIDTH ? sums : own_y;
      for (uint64_t w = 0; w < width; w++) to[w] += from[w];
    }
    for (uint64_t w = 0; reverse && w < WIDTH; w++) own_y[w] = sums[w];
  }
}
CLONES void multiply_any(const tk_rows &r, int reverse, int64_t width, const uint64_t *x, uint64_t *y, uint64_t *room) {
  if (reverse && width == 1) return multiply<1>(r, 1, 1, x, y, room);
  if (reverse && width == 4) return multiply<4>(r, 1, 4, x, y, room);
  if (width == 1) return multiply<1>(r, 0, 1, x, y, room);
  return multiply<0>(r, reverse, width, x, y, room);
}

struct Entries {  // of the quotient, as they are found
  int64_t *nodes, *classes;
  uint64_t *counts;
  int64_t size, found;
  bool add(int64_t node, int64_t near_class, uint64_t count) {
    if (found == size) return false;
    nodes[found] = node, classes[found] = near_class, counts[found++] = count;
    return true;
  }
};

// Targets by the classes of their sources. `order` has the sources class by class.
int64_t by_sources(const tk_rows &r, const int64_t *labels, const int64_t *order, const int64_t *first, Entries &entries) {
  const Numbers<uint32_t> counts(r.targets), degrees(r.targets), alike(first, r.targets);
  const Numbers<uint64_t> room(row_size(r));
  if (!counts.data || !degrees.data || !alike.data || !room.data) return -1;
  for (int64_t low = 0, high; low < r.sources; low = high) {
    const int64_t near_class = labels[order[low]];
    for (high = low; high < r.sources && labels[order[high]] == near_class; high++)
      for (uint64_t target : row_of(r, order[high], room.data)) counts[target]++, degrees[target]++;
    for (int64_t i = low; i < high; i++)
      for (uint64_t target : row_of(r, order[i], room.data))
        if (counts[target] != counts[alike[target]]) return -1;
    for (int64_t i = low; i < high; i++)
      for (uint64_t target : row_of(r, order[i], room.data)) {
        const bool is_first = alike[target] == target && counts[target];
        if (entries.size && is_first && !entries.add(int64_t(target), near_class, counts[target])) return -1;
        counts[target] = 0;
      }
  }
  for (int64_t t = 0; t < r.targets; t++)
    if (degrees[uint64_t(t)] != degrees[alike[uint64_t(t)]]) return -1;
  return entries.found;
}

// Sources by the classes of their targets. `order` has the sources so that each follows the one that it is like.
int64_t by_targets(const tk_rows &r, const int64_t *labels, const int64_t *order, const int64_t *alike, int64_t classes,
                   Entries &entries) {
  const Numbers<uint32_t> wanted(classes), counts(classes), class_of(labels, r.targets);
  const Numbers<uint64_t> first_room(row_size(r)), room(row_size(r));
  if (!wanted.data || !counts.data || !class_of.data || !first_room.data || !room.data) return -1;
  for (int64_t low = 0, high; low < r.sources; low = high) {
    const Row first = row_of(r, order[low], first_room.data);
    for (uint64_t target : first) wanted[class_of[target]]++;
    for (high = low + 1; high < r.sources && alike[order[high]] == order[low]; high++) {
      const Row row = row_of(r, order[high], room.data);
      if (row.count != first.count) return -1;
      for (uint64_t target : row) counts[class_of[target]]++;
      int bad = 0;
      for (uint64_t target : row) bad |= counts[class_of[target]] != wanted[class_of[target]];
      for (uint64_t target : row) counts[class_of[target]] = 0;
      if (bad) return -1;
    }
    for (uint64_t target : first) {
      uint32_t &count = wanted[class_of[target]];
      if (entries.size && count && !entries.add(order[low], class_of[target], count)) return -1;
      count = 0;
    }
  }
  return entries.found;
}

}  // namespace

extern "C" {
int32_t tk_canonical(const uint64_t *indptr, const uint64_t *indices, int64_t sources, int64_t targets, int64_t edges) {
  if (indptr[0] != 0 || indptr[sources] != uint64_t(edges)) return 0;
  for (int64_t row = 0; row < sources; row++) {
    const uint64_t low = indptr[row], high = indptr[row + 1];
    if (high < low || high > uint64_t(edges)) return 0;
    if (high == low) continue;
    if (!rises(indices + low, int64_t(high - low)) || indices[high - 1] >= uint64_t(targets)) return 0;
  }
  return 1;
}

int32_t tk_count(const uint64_t *indices, int64_t edges, int64_t targets, int64_t *counts) {
  const Numbers<uint32_t> found(targets);
  if (!found.data) return 0;
  for (int64_t e = 0; e < edges; e++) {
    if (indices[e] >= uint64_t(targets)) return 0;
    found[indices[e]]++;
  }
  for (int64_t t = 0; t < targets; t++) counts[t] = found[uint64_t(t)];
  return 1;
}

int32_t tk_fill(const tk_rows *rows, uint64_t *indices) {
  if (!rows->indices) fill(*rows, indices);
  return !rows->indices;
}

int32_t tk_survey(const tk_rows *rows, int64_t *out, int64_t *in) {
  const tk_rows &r = *rows;
  const int64_t size = row_size(r), block = std::clamp<int64_t>(4096 / std::max<int64_t>(size, 1), 1, 64);
  const Numbers<uint32_t> plain(r.sources), starts(r.sources), counts(r.targets), room(block * size);
  if (r.indices || !plain.data || !starts.data || !counts.data || !room.data) return 0;
  // in the order of the plain layer's rows, of which neighbours have neighbours as targets
  for (int64_t s = 0; s < r.sources; s++) starts.data[plain_row(r, s) + 1]++;
  for (int64_t s = 0; s < r.sources; s++) starts.data[s + 1] += starts.data[s];
  for (int64_t s = 0; s < r.sources; s++) {
    const uint32_t row = plain_row(r, s);
    plain.data[starts.data[row]++] = row;
    out[s] = size;
  }
  for (int64_t low = 0; low < r.sources; low += block)
    if (!survey_block(r, plain.data + low, std::min(block, r.sources - low), room.data, counts.data)) return 0;
  for (int64_t t = 0; t < r.targets; t++) in[t] = counts.data[t];
  return 1;
}

int32_t tk_multiply(const tk_rows *rows, int32_t reverse, int64_t width, const uint64_t *x, uint64_t *y) {
  const int64_t near = reverse ? rows->targets : rows->sources, far = reverse ? rows->sources : rows->targets;
  const Numbers<uint64_t> from(near * width), to(far * width), room(row_size(*rows));
  if (!from.data || !to.data || !room.data) return 0;
  const auto w = size_t(width);
  for (int64_t i = 0; i < near; i++) std::copy_n(x + i * width, w, from.data + place(uint64_t(i)) * w);
  multiply_any(*rows, reverse, width, from.data, to.data, room.data);
  for (int64_t i = 0; i < far; i++) std::copy_n(to.data + place(uint64_t(i)) * w, w, y + i * width);
  return 1;
}

int64_t tk_classes(const tk_rows *rows, int32_t reverse, const int64_t *labels, int64_t classes, const int64_t *order,
                   const int64_t *alike, int64_t size, int64_t *nodes, int64_t *near_classes, uint64_t *counts) {
  Entries entries{nodes, near_classes, counts, size, 0};
  return reverse ? by_targets(*rows, labels, order, alike, classes, entries)
                 : by_sources(*rows, labels, order, alike, entries);
}
}
