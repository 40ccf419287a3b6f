// The interface of the native library: plain C structures, filled by topokit/_native.py and topokit_train/native.py.
//
// Activations are kept as tiles of the batch: (tiles, features, width). The columns of a tile that no sample fills
// are 0 in inputs, outputs and gradients, so that sums over a tile need no mask.
#pragma once
#include <stdint.h>

#define TOPOKIT_ABI 3

#ifdef __cplusplus
extern "C" {
#endif

// A sparse matrix in compressed rows. Rows with equal columns may share a group of 1 to 4, whose columns are read once.
typedef struct {
  int32_t groups;
  const int32_t *bounds;   // (groups + 1): the rows of group g are number bounds[g] to bounds[g + 1] - 1 of `rows`
  const int32_t *rows;     // (number of rows): each row once
  const int32_t *ends;     // (groups,): the end of the groups from g on that have equal columns, if they are many; else 0
  const int32_t *work;     // (groups + 1): the edges and rows in the groups before g, by which threads share the groups
  const int32_t *starts;   // (number of rows + 1): the edges of row r are number starts[r] to starts[r + 1] - 1
  const int32_t *columns;  // (edges)
  const int32_t *order;    // (edges): the place of each edge's value, of a transposed matrix
} tk_matrix;

enum { TK_VALUES = 1, TK_BIAS = 2 };  // the gradients of a layer that are wanted

// y = W x + bias, with ReLU if `relu`. Of several networks each array holds one after the other.
typedef struct {
  tk_matrix weight, transposed;  // rows are targets; rows are sources
  int32_t in, out, relu, wanted;
  int64_t edges;
  void *values, *bias;                   // (edges,), (out,) or null
  void *values_grad, *bias_grad;         // written if wanted; of several networks, one for each thread
  int64_t y, dy;                         // first element of the output's tiles in `saved`, of its gradient's in `scratch`
  int64_t ordered;                       // and in `scratch` of room for the values in the order of `transposed`
  void *moments[4];                      // of the optimizer: two of the values, two of the bias
  double decay[2];                       // weight decay of the values and of the bias
} tk_layer;

// Numbers of features and samples, anywhere in memory: (f, s) is number f * feature + s * sample. Strides are in elements.
typedef struct {
  void *data;
  int64_t feature, sample;
} tk_array;

enum {                // what a job does, in this order
  TK_PACK = 1,        // x -> the first tiles in `saved`
  TK_FORWARD = 2,     // all layers
  TK_UNPACK = 4,      // the last layer's tiles -> y
  TK_LOSS = 8,        // cross-entropy of the last layer's outputs, and its gradient
  TK_GRADIENT = 16,   // dy -> the last layer's tiles in `scratch`
  TK_BACKWARD = 32,   // the wanted gradients of values and biases
  TK_INPUT = 64,      // and that of x -> dx
  TK_OPTIMIZE = 128,  // a step of the optimizer
};

enum { TK_SGD = 0, TK_ADAM = 1, TK_ADAMW = 2 };

typedef struct {
  int32_t what, is_double, threads;
  int32_t batch, width, tiles;  // width: a multiple of tk_lanes(); tiles * width >= batch
  int32_t layers, networks;
  tk_layer *layer;
  void *saved, *scratch;                  // tiles of outputs, from x on, and of their gradients
  int64_t saved_size, scratch_size;       // elements for one network: with several, each thread has its own
  int64_t dx_tiles;                       // first element of the tiles of dx in `scratch`
  tk_array x, y, dy, dx;
  int32_t x_bytes, shared;                // whether x are bytes, of a job in float; whether all networks read the same samples
  double x_shift, x_scale;                // bytes b become (b - shift) * scale
  const int64_t *index;                   // null, or the sample at each place of the batch: (batch,) or (batch, networks)
  const int64_t *labels;                  // (samples,), by index
  void *losses;                           // (threads, batch): scratch
  double *loss;                           // (networks,): the mean loss of the batch
  int32_t optimizer;
  double rate, beta1, beta2, epsilon, correction1, correction2;  // beta1 is the momentum of SGD
} tk_job;

// Inference of the Graph Challenge on blocks of images: y = min(max(W x + bias, 0), clip) for layers one after another.
// Images whose numbers are all 0 are dropped on the way. Numbers are float. A block has `tiles` tiles of tk_tile() images
// and room for one more: image i of the block is column i % tk_tile() of the tile in place slots[i / tk_tile()].
typedef struct {
  int32_t threads, layers, blocks, tiles;
  const tk_layer *layer;  // only weight, in, out, values and bias are read
  float *activations;     // (blocks, tiles + 1, features, tk_tile()): inputs of the images -> outputs of those that are left
  int32_t *slots;         // (blocks, tiles + 1): where the tiles are, and at last the place without one
  int32_t *images;        // (blocks,): number of images -> of those that are left
  int32_t *left;          // (blocks, tiles * tk_tile()): which of the images these are, ascending
  int64_t *places;        // (threads, 2, tiles * tk_tile()): scratch
  int64_t features;       // the most inputs or outputs of a layer
  float clip;
} tk_inference;

// The rows of a layer of uint64 numbers: in memory, or of a circulant layer, which are computed one at a time. A circulant
// layer has copies of `nodes` nodes. Node u is joined to (u + direction * k * place) mod nodes, 0 <= k < radix, in `joined`
// of the copies, `step` apart; radix * place <= nodes. Copies are joined if their numbers are equal modulo `step`.
typedef struct {
  int64_t sources, targets;
  const uint64_t *indptr, *indices;  // in memory; else null
  int64_t nodes, radix, place, direction, joined, step;
  const int64_t *order;              // (sources,): of which node each row is; null: each of its own
} tk_rows;

#pragma GCC visibility push(default)
int32_t tk_abi(void);
const char *tk_isa(void);              // instruction set in use
int32_t tk_limit(const char *name);    // use at most this one: "avx512", "avx2" or "baseline"; 0 if there is none such
int32_t tk_lanes(int32_t is_double);   // numbers in a vector
void tk_run(const tk_job *job);
int32_t tk_tile(void);
void tk_infer(const tk_inference *job);

// Whether the rows of a layer are in canonical form: ascending targets, none of them twice or out of range.
int32_t tk_canonical(const uint64_t *indptr, const uint64_t *indices, int64_t sources, int64_t targets, int64_t edges);
// How many edges each target has -> counts; 0 if memory is exhausted or a target is out of range.
int32_t tk_count(const uint64_t *indices, int64_t edges, int64_t targets, int64_t *counts);

// The targets of all edges of a circulant layer -> indices; 0 if the layer is in memory.
int32_t tk_fill(const tk_rows *rows, uint64_t *indices);
// The degrees of all nodes of a circulant layer, each edge computed, checked and counted -> out, in; 0 if a row is not in canonical form, memory is exhausted,
// or the layer is in memory.
int32_t tk_survey(const tk_rows *rows, int64_t *out, int64_t *in);
// The sums of x, (near nodes, width), over each target's sources, or each source's targets if `reverse`, modulo 2^64 -> y,
// (far nodes, width); 0 if memory is exhausted.
int32_t tk_multiply(const tk_rows *rows, int32_t reverse, int64_t width, const uint64_t *x, uint64_t *y);
// Whether each far node has as many edges to each class of near nodes as the far node alike[node] has. Far nodes are the
// targets, or the sources if `reverse`; labels are the classes of near nodes. `order` has the sources by their labels, or
// by `alike` if `reverse`, which then begin with alike[node] itself. Returns the number of entries written (far node that
// is like itself, near class, edges), of which there is room for `size`; -1: not alike, or no memory. With size 0 none is.
int64_t tk_classes(const tk_rows *rows, int32_t reverse, const int64_t *labels, int64_t classes, const int64_t *order,
                   const int64_t *alike, int64_t size, int64_t *nodes, int64_t *near_classes, uint64_t *counts);

#pragma GCC visibility pop

#ifdef __cplusplus
}
#endif
