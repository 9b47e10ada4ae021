/*
 * The mark by which libctshim.so knows programs of our own (ct, ct-agent and their helpers) and stays off in them: a dynamic
 * symbol of the executable. The Makefile asks for it with -u and --export-dynamic-symbol; the shim only refers to it, weakly.
 */
extern const char ctshim_stay_off;
__attribute__((visibility("default"))) const char ctshim_stay_off = 1;
