/*
 * report: what this process tells the one that started it, if that asks by a variable (secure_getenv) with the name of an abstract datagram
 * socket ("@name"). Each is one datagram, sent from the constructor, when everything is in place; who asks knows us by SO_PASSCRED.
 * Nobody there, or a socket that is full: nothing happens.
 */
#ifndef SHIM_REPORT_H
#define SHIM_REPORT_H

/* CTSHIM_HELLO, for `ct run`: "hello 1", this process is covered. */
void report_hello(void);

/*
 * CTSHIM_DOCTOR, for `ct doctor`: one JSON object: "version" and "path" of this library ("" if it is not UTF-8), "openssl" (the version
 * inside), "method" and "why" (maps_method()). Tries the methods of mapping and allocates, so only where it is asked for.
 */
void report_doctor(void);

#endif
