// Replays recorded calls of the library, each array in memory of exactly its size: for AddressSanitizer and UBSan.
//
// A file has the name of a function, its arrays, its arguments, its result, and the arrays that the call must have
// written. Each part begins with its number of items or bytes; all numbers are int64. A pointer, as an argument or in a
// structure, is the number of an array, from 1; 0 is null. A written array is its number, its type ('f': float, 'd':
// double, or else bytes), the error that is allowed (a double) and its bytes.
// tests/topokit_train/sanitized/conftest.py writes such files.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <string_view>

#include "topokit.h"

namespace {

FILE *file;
int64_t sizes[1024];
void *arrays[1024];

template <class T = int64_t>
T number() {
  T value;
  if (fread(&value, sizeof value, 1, file) != 1) exit(2);
  return value;
}
void *bytes(int64_t size) {
  void *all = malloc(size_t(size));
  if (size && fread(all, size_t(size), 1, file) != 1) exit(2);
  return all;
}
template <class T>
T *array(int64_t which) {
  return static_cast<T *>(arrays[which]);
}
template <class... T>
void point(T *&...pointers) {
  ((pointers = static_cast<T *>(arrays[reinterpret_cast<intptr_t>(pointers)])), ...);
}
void point(tk_matrix &m) { point(m.bounds, m.rows, m.ends, m.work, m.starts, m.columns, m.order); }
void point(tk_layer &l) {
  point(l.weight), point(l.transposed);
  point(l.values, l.bias, l.values_grad, l.bias_grad, l.moments[0], l.moments[1], l.moments[2], l.moments[3]);
}

void run(tk_job &job) {
  point(job.layer, job.saved, job.scratch, job.x.data, job.y.data, job.dy.data, job.dx.data);
  point(job.index, job.labels, job.losses, job.loss);
  for (int i = 0; i < job.layers; i++) point(job.layer[i]);
  tk_run(&job);
}

// The outputs of the images that are left, one after another, without the tiles -> outputs, and which these are -> which.
void infer(tk_inference &job, float *outputs, int32_t *which) {
  tk_layer *layers = array<tk_layer>(reinterpret_cast<intptr_t>(job.layer));
  for (int i = 0; i < job.layers; i++) point(layers[i]);
  point(job.layer, job.activations, job.slots, job.images, job.left, job.places);
  tk_infer(&job);
  const int width = tk_tile(), out = layers[job.layers - 1].out;
  for (int b = 0; b < job.blocks; b++)
    for (int i = 0; i < job.images[b]; i++) {
      const int64_t tile = job.slots[b * (job.tiles + 1) + i / width] + int64_t(b) * (job.tiles + 1);
      *which++ = b * job.tiles * width + job.left[b * job.tiles * width + i];
      for (int f = 0; f < out; f++) *outputs++ = job.activations[(tile * job.features + f) * width + i % width];
    }
}

const tk_rows *rows(int64_t which) {
  tk_rows *found = array<tk_rows>(which);
  point(found->indptr, found->indices, found->order);
  return found;
}

int64_t call(std::string_view name, const int64_t *a) {
  using U = uint64_t;
  using I = int64_t;
  if (name == "tk_abi") return tk_abi();
  if (name == "tk_isa") return !strcmp(tk_isa(), array<char>(a[0]));
  if (name == "tk_limit") return tk_limit(array<char>(a[0]));
  if (name == "tk_lanes") return tk_lanes(int32_t(a[0]));
  if (name == "tk_tile") return tk_tile();
  if (name == "tk_run") return run(*array<tk_job>(a[0])), 0;
  if (name == "tk_infer") return infer(*array<tk_inference>(a[0]), array<float>(a[1]), array<int32_t>(a[2])), 0;
  if (name == "tk_canonical") return tk_canonical(array<U>(a[0]), array<U>(a[1]), a[2], a[3], a[4]);
  if (name == "tk_count") return tk_count(array<U>(a[0]), a[1], a[2], array<I>(a[3]));
  if (name == "tk_fill") return tk_fill(rows(a[0]), array<U>(a[1]));
  if (name == "tk_survey") return tk_survey(rows(a[0]), array<I>(a[1]), array<I>(a[2]));
  if (name == "tk_multiply") return tk_multiply(rows(a[0]), int32_t(a[1]), a[2], array<U>(a[3]), array<U>(a[4]));
  if (name == "tk_classes")
    return tk_classes(rows(a[0]), int32_t(a[1]), array<I>(a[2]), a[3], array<I>(a[4]), array<I>(a[5]), a[6],
                      array<I>(a[7]), array<I>(a[8]), array<U>(a[9]));
  exit(2);
}

template <class S>
bool close(const S *found, const S *wanted, int64_t count, double tolerance) {
  for (int64_t i = 0; i < count; i++)
    if (!(fabs(double(found[i]) - double(wanted[i])) <= tolerance * (1 + fabs(double(wanted[i]))))) return false;
  return true;
}
bool equal(const void *found, const void *wanted, int64_t size, int64_t type, double tolerance) {
  if (type == 'f') return close((const float *)found, (const float *)wanted, size / 4, tolerance);
  if (type == 'd') return close((const double *)found, (const double *)wanted, size / 8, tolerance);
  return !memcmp(found, wanted, size_t(size));
}

bool replay() {
  int64_t size = number(), last;
  char *name = static_cast<char *>(bytes(size));
  last = number();
  for (int64_t i = 1; i <= last; i++) sizes[i] = number(), arrays[i] = bytes(sizes[i]);
  size = number();
  int64_t *arguments = static_cast<int64_t *>(bytes(size * 8));
  const int64_t wanted_result = number(), result = call({name, strlen(name)}, arguments);
  bool fine = result == wanted_result;
  if (!fine) fprintf(stderr, "%s returned %lld\n", name, (long long)result);
  for (int64_t left = number(); left > 0; left--) {
    const int64_t which = number(), type = number();
    const double tolerance = number<double>();
    const int64_t count = number();
    void *wanted = bytes(count);
    const bool same = count <= sizes[which] && equal(arrays[which], wanted, count, type, tolerance);
    if (!same) fprintf(stderr, "%s: array %lld differs\n", name, (long long)which);
    fine &= same;
    free(wanted);
  }
  for (int64_t i = 1; i <= last; i++) free(arrays[i]);
  free(arguments), free(name);
  return fine;
}

}  // namespace

int main(int count, char **names) {
  bool fine = true;
  for (int n = 1; n < count; n++) {
    file = fopen(names[n], "rb");
    if (!file) return 2;
    if (!replay()) fprintf(stderr, "in %s\n", names[n]), fine = false;
    fclose(file);
  }
  if (fine) puts("all equal");
  return !fine;
}
