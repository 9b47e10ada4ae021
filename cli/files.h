/*
 * files: what ct verify and ct rewrap take for FILE: a file, or a folder, which stands for all .safetensors files in it, through links too.
 */
#ifndef CT_FILES_H
#define CT_FILES_H

#include <stdbool.h>

#include "err.h"

/*
 * Calls fn for the file, or for every file of the folder in order of names. rel: path below the folder (of a file: its last part). err: NULL, or
 * why the path cannot be looked at (also for a folder that holds no such file).
 */
void files_each(const char *path, void (*fn)(void *arg, const char *path, const char *rel, const struct err *err), void *arg);

/* NAME.safetensors. */
bool files_is_model_name(const char *name);

#endif
