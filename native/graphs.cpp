// Checks and counts of a layer's edges, in compressed rows of 64-bit numbers as topokit/layer.py has them.
#include <stdlib.h>

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

// Targets of a node often are a power of two apart, where their counters would push each other out of the cache: so
// there is a gap of one line after every 1,024.
inline uint64_t place(uint64_t target) { return target + (target >> 10 << 4); }

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
  uint32_t *padded = static_cast<uint32_t *>(calloc(place(uint64_t(targets)) + 1, sizeof(uint32_t)));
  int32_t fine = padded != nullptr;
  for (int64_t e = 0; fine && e < edges; e++) {
    if (indices[e] >= uint64_t(targets)) fine = 0;
    else padded[place(indices[e])]++;
  }
  for (int64_t t = 0; fine && t < targets; t++) counts[t] = padded[place(uint64_t(t))];
  free(padded);
  return fine;
}
}
