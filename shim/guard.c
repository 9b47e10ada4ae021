#include "guard.h"
#include <fcntl.h>
#include "sys.h"
int guard_add(int fd) { int r=(int)sys3(SYS_fcntl, fd, F_DUPFD_CLOEXEC, 900); sys_close(fd); return r; }
void guard_close(int fd) { if (fd>=0) sys_close(fd); }
bool guard_is(int fd) { return fd<-1; }
