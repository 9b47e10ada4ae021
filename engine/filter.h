/* filter: the seccomp filter, an allow list. What is not in it ends the process; what engines try by habit fails with EACCES. */
#ifndef CT_ENGINE_FILTER_H
#define CT_ENGINE_FILTER_H

#include "err.h"

/* For all threads. no_new_privs must be set. 0, or -1 with ERR_SYSTEM. */
int filter_install(struct err *err);

#endif
