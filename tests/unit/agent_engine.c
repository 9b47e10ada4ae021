/*
 * engine_ask(): as many questions as there are slots, fewer for who must leave some free. Others' slow policies would take all of them, and the agent's own
 * user would wait until he is refused.
 */
#include "check.h"
#include "engine.h"

static int ask(struct engine *e, size_t spare)
{
	static const struct str text = { "{}", 2 };
	struct err why = { 0 };
	int slot = engine_ask(e, text, text, spare, &why);

	CHECK(slot >= -1);
	return slot;
}

int main(void)
{
	struct engine e = ENGINE_NONE;
	struct err why = { 0 };
	int slot[ENGINE_SLOTS];

	CHECK(engine_start(&e, "exec:/bin/sleep 60", &why) == 0);
	for (int i = 0; i < ENGINE_SLOTS - 2; i++)
		CHECK((slot[i] = ask(&e, 2)) >= 0);
	CHECK(ask(&e, 2) == -1);
	for (int i = ENGINE_SLOTS - 2; i < ENGINE_SLOTS; i++)
		CHECK((slot[i] = ask(&e, 0)) >= 0);
	CHECK(ask(&e, 0) == -1);
	for (int i = 0; i < ENGINE_SLOTS; i++)
		for (int k = 0; k < i; k++)
			CHECK(slot[i] != slot[k]);
	engine_stop(&e);
	return check_status("agent_engine");
}
