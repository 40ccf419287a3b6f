// Threads that work on one job, and what each instruction set's build offers.
#pragma once
#include "topokit.h"

struct tk_team;
void tk_meet(tk_team *team);  // wait until all threads of the team are here

typedef void (*tk_work)(const void *job, int thread, int threads, tk_team *team);
void tk_parallel(tk_work work, const void *job, int threads);

constexpr int TK_INFERENCE_VECTORS = 6;  // in a tile: the sums of four rows fit into the registers

struct tk_build {
  int vector_bytes;
  tk_work step[2], infer;  // float, double
};
