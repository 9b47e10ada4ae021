/*
 * machine: the id of the machine: systemd's, of 32 hexadecimal digits, in /etc/machine-id; D-Bus's is the same where both are. Root may change it, and a disk
 * image has it, too. Thread safe.
 */
#ifndef CT_MACHINE_H
#define CT_MACHINE_H

#include <stdbool.h>

#define MACHINE_ID_LEN 32u

/* false: neither file is there, or what it has is no id. NUL-terminated. */
bool machine_id(char id[MACHINE_ID_LEN + 1]);

#endif
