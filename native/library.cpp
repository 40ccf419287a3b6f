// The library's entry points: the choice of the instruction set, and the threads.
#include <pthread.h>
#include <string.h>
#include <time.h>

#include <algorithm>
#include <atomic>

#include "team.h"

extern const tk_build tk_baseline;
#ifdef TK_X86
extern const tk_build tk_avx2, tk_avx512;
#endif

namespace {

constexpr int64_t SPIN = 8000;  // nanoseconds that a thread waits awake
constexpr int MOST_THREADS = 256;

int64_t now() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * int64_t(1000000000) + t.tv_nsec;
}
inline void rest() {
#ifdef TK_X86
  __builtin_ia32_pause();
#endif
}
template <class C>
bool soon(C condition) {  // whether it becomes true within SPIN
  const int64_t end = now() + SPIN;
  do {
    for (int i = 0; i < 32; i++) {
      if (condition()) return true;
      rest();
    }
  } while (now() < end);
  return false;
}

struct Isa {
  const char *name;
  const tk_build *build;
};
const Isa *best(const char *limit) {
  static const Isa all[] = {
#ifdef TK_X86
      {"avx512", &tk_avx512}, {"avx2", &tk_avx2},
#endif
      {"baseline", &tk_baseline}};
  bool allowed = !limit;
  for (const Isa &isa : all) {
    allowed |= limit && !strcmp(limit, isa.name);
    bool here = true;
#ifdef TK_X86
    if (isa.build == &tk_avx2) here = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    if (isa.build == &tk_avx512)
      here = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
             __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
#endif
    if (allowed && here) return &isa;
  }
  return nullptr;
}
std::atomic<const Isa *> chosen{nullptr};
const Isa *isa() {
  if (!chosen) chosen = best(nullptr);
  return chosen;
}

template <class C>
void await(pthread_mutex_t &lock, pthread_cond_t &signal, C condition) {  // awake at first, then asleep
  if (soon(condition)) return;
  pthread_mutex_lock(&lock);
  while (!condition()) pthread_cond_wait(&signal, &lock);
  pthread_mutex_unlock(&lock);
}

struct Call {
  tk_work work;
  const void *job;
  int threads;
  tk_team *team;
};
// Threads that sleep until there is work. One job at a time has them; others meanwhile run on their own thread.
struct Pool {
  pthread_mutex_t use, lock;
  pthread_cond_t work_there, all_done;
  int started;
  std::atomic<uint64_t> job;  // its number
  Call call;
  std::atomic<int> running;
};
Pool pool;

void *worker(void *number) {
  const int mine = int(reinterpret_cast<intptr_t>(number));
  uint64_t seen = 0;
  for (;;) {
    auto posted = [&] { return pool.job.load(std::memory_order_acquire) != seen; };
    await(pool.lock, pool.work_there, posted);
    pthread_mutex_lock(&pool.lock);  // a late thread may find a later job here
    seen = pool.job;
    const Call call = pool.call;
    pthread_mutex_unlock(&pool.lock);
    if (mine >= call.threads) continue;
    call.work(call.job, mine, call.threads, call.team);
    if (pool.running.fetch_sub(1, std::memory_order_acq_rel) == 1) {
      pthread_mutex_lock(&pool.lock);
      pthread_cond_signal(&pool.all_done);
      pthread_mutex_unlock(&pool.lock);
    }
  }
  return nullptr;
}

void begin() {  // also in a forked child, which has none of its parent's threads
  pthread_mutex_init(&pool.use, nullptr);
  pthread_mutex_init(&pool.lock, nullptr);
  pthread_cond_init(&pool.work_there, nullptr);
  pthread_cond_init(&pool.all_done, nullptr);
  pool.started = 0;
  pool.job = 0;
}
void begin_once() {
  begin();
  pthread_atfork(nullptr, nullptr, begin);
}

int start(int threads) {  // returns how many there are, the caller's own included
  while (pool.started + 1 < threads) {
    pthread_t thread;
    const intptr_t number = pool.started + 1;
    if (pthread_create(&thread, nullptr, worker, reinterpret_cast<void *>(number))) break;
    pthread_detach(thread);
    pool.started++;
  }
  return std::min(threads, pool.started + 1);
}

}  // namespace

struct tk_team {
  int size;
  std::atomic<int> there{0}, round{0};
  pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
  pthread_cond_t next = PTHREAD_COND_INITIALIZER;
};

void tk_meet(tk_team *team) {
  const int round = team->round.load(std::memory_order_relaxed);
  if (team->there.fetch_add(1) < team->size - 1)
    return await(team->lock, team->next, [&] { return team->round != round; });
  team->there = 0;
  pthread_mutex_lock(&team->lock);
  team->round = round + 1;
  pthread_cond_broadcast(&team->next);
  pthread_mutex_unlock(&team->lock);
}

void tk_parallel(tk_work work, const void *job, int threads) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, begin_once);
  threads = std::min(threads, MOST_THREADS);
  if (threads <= 1 || pthread_mutex_trylock(&pool.use)) {
    work(job, 0, 1, nullptr);
    return;
  }
  threads = start(threads);
  tk_team team;
  team.size = threads;
  pthread_mutex_lock(&pool.lock);
  pool.call = {work, job, threads, &team};
  pool.running = threads - 1;
  pool.job++;
  pthread_cond_broadcast(&pool.work_there);
  pthread_mutex_unlock(&pool.lock);
  work(job, 0, threads, &team);
  await(pool.lock, pool.all_done, [] { return pool.running.load(std::memory_order_acquire) == 0; });
  pthread_mutex_unlock(&pool.use);
}

extern "C" {
int32_t tk_abi(void) { return TOPOKIT_ABI; }
const char *tk_isa(void) { return isa()->name; }
int32_t tk_limit(const char *name) {
  const Isa *found = best(name);
  if (found) chosen = found;
  return found != nullptr;
}
int32_t tk_lanes(int32_t is_double) { return isa()->build->vector_bytes / (is_double ? 8 : 4); }
int32_t tk_tile(void) { return TK_INFERENCE_VECTORS * isa()->build->vector_bytes / 4; }
void tk_infer(const tk_inference *job) { tk_parallel(isa()->build->infer, job, job->threads); }
void tk_run(const tk_job *job) { tk_parallel(isa()->build->step[job->is_double], job, job->threads); }
}
