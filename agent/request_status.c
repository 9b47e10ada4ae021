/* status: how the agent is doing. For everybody who may open. */
#include "request_inner.h"

#include <unistd.h>

#include "clock.h"

static void put_licences(struct agent *a, struct reply *reply)
{
	struct buf licences = BUF_INIT, state = BUF_INIT;

	licences_status(a, &licences);
	licences_state(a, &state);
	reply_json(reply, "licences", &licences);
	reply_json(reply, "licensing", &state);
	buf_release(&licences);
	buf_release(&state);
}

int request_status(struct agent *a, struct reply *reply)
{
	reply_begin(reply);
	reply_number(reply, "pid", (uint64_t)getpid());
	reply_number(reply, "keeper", (uint64_t)keystore_keeper(a->keys));
	reply_string(reply, "version", CT_VERSION);
	reply_number(reply, "sets", keystore_count(a->keys));
	reply_bool(reply, "locked", a->lock.set);
	reply_number(reply, "rules", a->config->rules.count);
	reply_number(reply, "uptime_s", (uint64_t)(clock_boot_ms() - a->started_ms) / 1000);
	if (licences_any(a))
		put_licences(a, reply);
	reply_object(reply, "opens");
	reply_number(reply, "served", a->opens.served);
	reply_number(reply, "ciphertext", a->opens.ciphertext);
	reply_number(reply, "refused", a->opens.refused);
	reply_number(reply, "failed", a->opens.failed);
	reply_object_end(reply);
	reply_string(reply, "policy_engine", engine_state(a->engine));
	reply_number(reply, "audit_lost", a->audit->lost);
	reply_object(reply, "hardening");
	reply_bool(reply, "no_dump", a->hardening.no_dump && a->keeper_hardening.no_dump);
	reply_bool(reply, "no_core", a->hardening.no_core && a->keeper_hardening.no_core);
	reply_bool(reply, "no_new_privs", a->hardening.no_new_privs && a->keeper_hardening.no_new_privs);
	reply_bool(reply, "memory_locked", keystore_in_locked_memory(a->keys));
	reply_bool(reply, "memory_hidden", keystore_in_hidden_memory(a->keys));
	reply_object_end(reply);
	return reply_end(reply);
}
