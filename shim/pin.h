#include <stdbool.h>
static inline bool pin_gpu_mapped(void) { return false; }
