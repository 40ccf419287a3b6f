// Replays a recorded job, each array in memory of exactly its size: for AddressSanitizer and UBSan.
//
// A file has the arrays, then the job: an array is its size in bytes (int64) and its bytes. Pointers in the structures
// are numbers of arrays, from 1; 0 is null. At last come the arrays that the job must have written, each as its number
// and the expected array. tests/topokit_train/test_native_sanitized.py writes such files.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "topokit.h"

static int64_t sizes[1024];
static void *arrays[1024];

static int64_t number(FILE *file) {
  int64_t value;
  return fread(&value, sizeof value, 1, file) == 1 ? value : -1;
}
static void *bytes(FILE *file, int64_t size) {
  void *all = malloc(size_t(size ? size : 1));
  if (size && fread(all, size_t(size), 1, file) != 1) exit(2);
  return all;
}
template <class T>
static void point(T *&pointer) {
  pointer = static_cast<T *>(arrays[reinterpret_cast<intptr_t>(pointer)]);
}
static void point(tk_matrix &m) {
  point(m.bounds), point(m.rows), point(m.work), point(m.starts), point(m.columns), point(m.order);
}
template <class S>
static int wrong(const S *found, const S *wanted, int64_t count) {
  for (int64_t i = 0; i < count; i++)
    if (!(fabs(double(found[i]) - double(wanted[i])) <= 1e-4 * (1 + fabs(double(wanted[i]))))) return 1;
  return 0;
}

int main(int count, char **names) {
  for (int n = 1; n < count; n++) {
    FILE *file = fopen(names[n], "rb");
    if (!file) return 2;
    const int64_t last = number(file);
    for (int64_t i = 1; i <= last; i++) sizes[i] = number(file), arrays[i] = bytes(file, sizes[i]);
    tk_job job;
    if (fread(&job, sizeof job, 1, file) != 1) return 2;
    point(job.layer), point(job.saved), point(job.scratch), point(job.index), point(job.labels);
    point(job.losses), point(job.loss), point(job.x.data), point(job.y.data), point(job.dy.data), point(job.dx.data);
    for (int i = 0; i < job.layers; i++) {
      tk_layer &l = job.layer[i];
      point(l.weight), point(l.transposed), point(l.values), point(l.bias), point(l.values_grad), point(l.bias_grad);
      for (void *&moment : l.moments) point(moment);
    }
    tk_run(&job);
    for (int64_t which = number(file); which > 0; which = number(file)) {
      void *wanted = bytes(file, sizes[which]);
      const int bad = job.is_double ? wrong((double *)arrays[which], (double *)wanted, sizes[which] / 8)
                                    : wrong((float *)arrays[which], (float *)wanted, sizes[which] / 4);
      free(wanted);
      if (bad) {
        fprintf(stderr, "%s: array %lld differs\n", names[n], (long long)which);
        return 1;
      }
    }
    for (int64_t i = 1; i <= last; i++) free(arrays[i]);
    fclose(file);
  }
  puts("all equal");
  return 0;
}
