# ctshim: `make help` lists the targets.
# Knobs: V=1 (show commands), SANITIZE=address,undefined (builds into build-address-undefined/), PREFIX, DESTDIR, BUILD, OPENSSL_PREFIX.

CC ?= gcc
PREFIX ?= /usr/local
comma := ,
BUILD ?= build$(if $(SANITIZE),-$(subst $(comma),-,$(SANITIZE)))
VERSION := 0.1.0
UNITS := $(PREFIX)/lib/systemd

ifeq ($(V),)
Q := @
say = @printf '  %-4s %s\n' $(1) $(2)
else
say = @:
endif

# libcrypto: a static one in OPENSSL_PREFIX, by default what scripts/openssl left; else (or OPENSSL_PREFIX= empty) the system's.
OPENSSL_PREFIX ?= $(patsubst %/lib/libcrypto.a,%,$(wildcard .openssl/lib/libcrypto.a))
ifeq ($(OPENSSL_PREFIX),)
CRYPTO := -lcrypto
CRYPTO_STATIC := -l:libcrypto.a
CRYPTO_FLAGS := -DCT_CRYPTO='"of the system"'
else
CRYPTO := $(firstword $(wildcard $(OPENSSL_PREFIX)/lib/libcrypto.a $(OPENSSL_PREFIX)/lib64/libcrypto.a))
CRYPTO_STATIC := $(CRYPTO)
CRYPTO_FLAGS := -isystem $(OPENSSL_PREFIX)/include -DCT_CRYPTO='"built in"'
$(if $(CRYPTO),,$(error there is no libcrypto.a in $(OPENSSL_PREFIX)/lib))
endif
# What was built with another one is built anew.
CRYPTO_MARK := $(BUILD)/obj/openssl
CRYPTO_IS := $(strip $(OPENSSL_PREFIX) $(if $(OPENSSL_PREFIX),$(file <$(OPENSSL_PREFIX)/stamp)))
ifneq ($(file <$(CRYPTO_MARK)),$(CRYPTO_IS))
.PHONY: $(CRYPTO_MARK)
endif

WARN := -Wall -Wextra -Wshadow -Wconversion -Werror -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wformat=2
CFLAGS ?= -O2 -g
HARDEN := -fstack-protector-strong -U_FORTIFY_SOURCE
ALL_CFLAGS := -std=gnu11 $(CFLAGS) $(WARN) $(HARDEN) -fPIC -fvisibility=hidden -ffile-prefix-map=$(CURDIR)=. \
	-pthread -D_GNU_SOURCE -DCT_VERSION='"$(VERSION)"' -DCT_LIBDIR='"$(PREFIX)/lib"' $(CRYPTO_FLAGS) -Ilib -MMD -MP
LINK := -pthread -Wl,-z,relro,-z,now,-z,noexecstack
ifneq ($(SANITIZE),)
ALL_CFLAGS += -fsanitize=$(SANITIZE) -fno-sanitize-recover=all -fno-omit-frame-pointer
LINK += -fsanitize=$(SANITIZE)
endif

# Our own programs carry the mark that keeps a preloaded libctshim.so off in them (lib/stay_off.c).
STAY_OFF := -Wl,-u,ctshim_stay_off -Wl,--export-dynamic-symbol=ctshim_stay_off

objs = $(patsubst %.c,$(BUILD)/obj/%.o,$(sort $(wildcard $(1)/*.c)))
LIB_OBJS := $(call objs,lib)
SHIM_OBJS := $(call objs,shim)
AGENT_OBJS := $(call objs,agent)
CLI_OBJS := $(call objs,cli)
ENGINE_OBJS := $(call objs,engine)
UNIT := $(patsubst tests/unit/%.c,$(BUILD)/unit/%,$(sort $(wildcard tests/unit/*.c)))
PROBES := $(patsubst tests/probes/%.c,$(BUILD)/probes/%,$(sort $(wildcard tests/probes/*.c)))
BENCH := $(patsubst tests/bench/%.c,$(BUILD)/bench/%,$(sort $(wildcard tests/bench/*.c)))

.PHONY: all help install uninstall test test-clients test-suites test-big unit check bench bench-untouched bench-tools soak clean tools
all: $(BUILD)/libctshim.so $(BUILD)/ct $(BUILD)/ct-agent $(BUILD)/ct-policy-rego

help:
	@echo 'make               build/libctshim.so build/ct build/ct-agent build/ct-policy-rego'
	@echo 'make install       to PREFIX ($(PREFIX)), below DESTDIR; runs ldconfig where DESTDIR is empty'
	@echo 'make uninstall     removes what install put there'
	@echo 'make test          the whole test suite (scripts/test installs what it needs)'
	@echo 'make test-clients  every client of tests/clients on encrypted models; writes docs/CLIENTS.md (7 GB, 20 min)'
	@echo 'make test-suites   test suites of safetensors, numpy, CPython with and without the preload (15 min)'
	@echo 'make test-big      a model of 20 GiB through ct and the shim in 200 MiB of memory (root, 60 GB, 5 min)'
	@echo 'make unit          only the unit tests in C'
	@echo 'make check         shellcheck, cppcheck, the syntax of Python files'
	@echo 'make tools         what the tests run: unit tests, probes, stand-ins (then: bats tests/NAME.bats)'
	@echo 'make bench         what the shim costs against its targets: mappings of a 1 GiB model (tests/bench/maps --help), ct on whole'
	@echo '                   files (tests/bench/whole), and the next'
	@echo 'make bench-untouched  what it costs programs that never open a model (tests/bench/untouched --help)'
	@echo 'make soak          the storm of tests/lazy_storm.bats, 60 s per method'
	@echo 'make clean         removes build directories'
	@echo 'knobs: V=1  SANITIZE=address,undefined  PREFIX=  DESTDIR=  CFLAGS=  OPENSSL_PREFIX='

$(CRYPTO_MARK):
	@mkdir -p $(@D) && printf '%s\n' '$(CRYPTO_IS)' >$@

$(BUILD)/obj/%.o: %.c Makefile $(CRYPTO_MARK)
	$(call say,CC,$<)
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) -c $< -o $@

$(BUILD)/libct.a: $(LIB_OBJS)
	$(call say,AR,$@)
	$(Q)rm -f $@ && $(AR) rcs $@ $^

# libcrypto is linked statically and hidden: a dynamic one would put its 3,238 names in front of the host's own copy. initfirst: libraries that
# read files while they are being loaded come after us (shim/main.c).
$(BUILD)/libctshim.so: $(SHIM_OBJS) $(BUILD)/libct.a shim/exports.map
	$(call say,LD,$@)
	$(Q)$(CC) $(LINK) -shared -Wl,-soname,libctshim.so -Wl,--version-script,shim/exports.map -Wl,--exclude-libs,ALL \
		-Wl,-Bsymbolic -Wl,-z,initfirst -o $@ $(SHIM_OBJS) $(BUILD)/libct.a $(CRYPTO_STATIC) -ldl

$(BUILD)/ct: $(CLI_OBJS) $(BUILD)/libct.a
	$(call say,LD,$@)
	$(Q)$(CC) $(LINK) $(STAY_OFF) -pie -o $@ $^ $(CRYPTO)

$(BUILD)/ct-agent: $(AGENT_OBJS) $(BUILD)/libct.a
	$(call say,LD,$@)
	$(Q)$(CC) $(LINK) $(STAY_OFF) -pie -o $@ $^ $(CRYPTO)

# No OpenSSL: what runs strangers' policies has nothing to do with keys.
$(BUILD)/ct-policy-rego: $(ENGINE_OBJS) $(BUILD)/libct.a
	$(call say,LD,$@)
	$(Q)$(CC) $(LINK) $(STAY_OFF) -pie -o $@ $^ -ldl

$(BUILD)/unit/%: $(BUILD)/obj/tests/unit/%.o $(BUILD)/libct.a
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) $(LINK) -pie -o $@ $^ $(CRYPTO)

# Unit tests of the shim have its hooks in themselves, in front of libc's, and its constructor runs. What a test defines itself takes
# the place of the shim's function of that name.
$(BUILD)/obj/tests/unit/shim_%.o: ALL_CFLAGS += -Ishim
$(BUILD)/unit/shim_%: $(BUILD)/obj/tests/unit/shim_%.o $(SHIM_OBJS) $(BUILD)/libct.a
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) $(LINK) -Wl,--allow-multiple-definition -pie -o $@ $^ $(CRYPTO_STATIC) -ldl

# Unit tests of the agent's parts; what a test defines itself takes the place of the agent's function of that name.
$(BUILD)/obj/tests/unit/agent_%.o: ALL_CFLAGS += -Iagent
$(BUILD)/unit/agent_%: $(BUILD)/obj/tests/unit/agent_%.o $(filter-out %/main.o,$(AGENT_OBJS)) $(BUILD)/libct.a
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) $(LINK) -Wl,--allow-multiple-definition -pie -o $@ $^ $(CRYPTO)

# And of the policy engine's.
$(BUILD)/obj/tests/unit/engine_%.o: ALL_CFLAGS += -Iengine
$(BUILD)/unit/engine_%: $(BUILD)/obj/tests/unit/engine_%.o $(filter-out %/main.o,$(ENGINE_OBJS)) $(BUILD)/libct.a
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) $(LINK) -pie -o $@ $^ -ldl

# Small programs that the tests run under the preload; they link nothing of ours.
$(BUILD)/probes/%: tests/probes/%.c tests/probes/probe.h tests/probes/doors.h Makefile
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) -std=gnu11 -O1 -g -Wall -Wextra -Werror -pthread -D_GNU_SOURCE -o $@ $< -ldl

# What the benchmarks measure with; the OpenSSL of the floor is the shim's own.
$(BUILD)/bench/%: tests/bench/%.c tests/bench/bench.h Makefile $(CRYPTO_MARK)
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) -std=gnu11 -O2 -g -Wall -Wextra -Werror -pthread -D_GNU_SOURCE $(CRYPTO_FLAGS) -o $@ $< $(CRYPTO_STATIC) -ldl

# What stands for a library that tests cannot have.
$(BUILD)/standins/libcuda.so.1: tests/standins/libcuda.c Makefile
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) -std=gnu11 -O1 -g -Wall -Wextra -Werror -fPIC -shared -Wl,-Bsymbolic -Wl,-soname,libcuda.so.1 -o $@ $<
# No sanitizer, no OpenSSL: it is loaded like any library.
$(BUILD)/standins/librego.so: tests/standins/librego.c Makefile
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) -std=gnu11 -O1 -g -Wall -Wextra -Werror -D_GNU_SOURCE -fPIC -shared -pthread -o $@ $<
$(BUILD)/standins/librego-thread.so: tests/standins/librego.c Makefile
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) -std=gnu11 -O1 -g -Wall -Wextra -Werror -D_GNU_SOURCE -DWITH_THREAD -fPIC -shared -pthread -o $@ $<
$(BUILD)/unit/shim_pin: | $(BUILD)/standins/libcuda.so.1

$(BUILD)/standins/p11.so: tests/standins/p11.c agent/cryptoki.h Makefile
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) -std=gnu11 -O1 -g -Wall -Wextra -Werror -D_GNU_SOURCE -Ilib -Iagent -fPIC -shared -Wl,-Bsymbolic -o $@ $<

tools: $(UNIT) $(PROBES) $(addprefix $(BUILD)/standins/,libcuda.so.1 p11.so librego.so librego-thread.so)

bench-tools: all $(BENCH) $(PROBES)

unit: $(UNIT)
	$(Q)set -e; for t in $^; do $$t; done

test:
	scripts/test

test-clients:
	scripts/test-clients

test-suites:
	scripts/test-suites

test-big:
	scripts/test-big

check:
	scripts/check

bench: bench-untouched
	tests/bench/maps
	tests/bench/whole

bench-untouched: bench-tools
	tests/bench/untouched

soak: all tools
	STORM_SECONDS=60 bats tests/lazy_storm.bats

install: all
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/lib $(DESTDIR)$(PREFIX)/libexec/ctshim
	install -m 755 $(BUILD)/ct $(BUILD)/ct-agent $(DESTDIR)$(PREFIX)/bin/
	install -m 755 $(BUILD)/ct-policy-rego $(DESTDIR)$(PREFIX)/libexec/ctshim/
	install -m 755 $(BUILD)/libctshim.so $(DESTDIR)$(PREFIX)/lib/
	install -m 755 keys/ct-tpm-seal keys/ct-tpm-unseal $(DESTDIR)$(PREFIX)/libexec/ctshim/
	install -m 644 keys/tpm.sh $(DESTDIR)$(PREFIX)/libexec/ctshim/
	install -d $(addprefix $(DESTDIR)$(UNITS)/,user system/ct-agent.service.d)
	sed 's|@PREFIX@|$(PREFIX)|' systemd/ct-agent.service > $(DESTDIR)$(UNITS)/system/ct-agent.service
	install -m 644 systemd/ct-agent.socket $(DESTDIR)$(UNITS)/system/
	install -m 644 systemd/system.conf $(DESTDIR)$(UNITS)/system/ct-agent.service.d/
	install -m 644 $(addprefix $(DESTDIR)$(UNITS)/system/ct-agent.,service socket) $(DESTDIR)$(UNITS)/user/
	chmod 644 $(DESTDIR)$(UNITS)/system/ct-agent.service
	$(if $(DESTDIR),,ldconfig)

uninstall:
	rm -f $(DESTDIR)$(PREFIX)/bin/ct $(DESTDIR)$(PREFIX)/bin/ct-agent $(DESTDIR)$(PREFIX)/lib/libctshim.so
	rm -rf $(DESTDIR)$(PREFIX)/libexec/ctshim $(DESTDIR)$(UNITS)/system/ct-agent.service.d
	rm -f $(addprefix $(DESTDIR)$(UNITS)/,$(foreach k,user system,$k/ct-agent.service $k/ct-agent.socket))
	$(if $(DESTDIR),,ldconfig)

clean:
	rm -rf build build-*

-include $(patsubst %.o,%.d,$(LIB_OBJS) $(SHIM_OBJS) $(AGENT_OBJS) $(CLI_OBJS) $(ENGINE_OBJS)) $(wildcard $(BUILD)/obj/tests/unit/*.d)
