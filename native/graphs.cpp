// Layers that are never written to memory: filling, counting degrees, sweeping path counts.
#include "topokit.h"
