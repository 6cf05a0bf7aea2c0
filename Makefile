# evswitch: `sudo make run` and `sudo make test`, see README.md.
# V=1 shows commands, SAN=1 builds with ASan and UBSan, CC=clang works.
VERSION := 0.1.0
CC      := gcc
PREFIX  ?= /usr/local
BUILD   ?= build$(if $(SAN),/san)
PYTEST  ?= /usr/bin/python3 -m pytest
FUZZ_SECONDS ?= 60
Q        = $(if $(V),,@)
say      = $(if $(V),,@printf '  %-5s %s\n' $(1) $(2))

PKGS     := libdpdk libpcap libnl-3.0 libnl-route-3.0 libevent libevent_pthreads jansson sqlite3 libcrypto libsystemd
PKG_CFLAGS = $(eval PKG_CFLAGS := $(subst -I/,-isystem /,$(shell pkg-config --cflags $(PKGS))))$(PKG_CFLAGS)
PKG_LIBS = $(eval PKG_LIBS := $(shell pkg-config --libs $(PKGS)))$(PKG_LIBS)

CFLAGS  ?= -O2 -g
WARN    := -Wall -Wextra -Wno-missing-field-initializers -Werror -Wshadow -Wmissing-prototypes
SANFLAG := $(if $(SAN),-fsanitize=address -fsanitize=undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer)
HARDEN  := $(if $(SAN)$(FUZZ),,-D_FORTIFY_SOURCE=2) -fstack-protector-strong -fPIE -fvisibility=hidden
EVFLAGS  = -std=gnu17 $(PKG_CFLAGS) $(CFLAGS) $(WARN) $(HARDEN) $(SANFLAG) $(FUZZ) -D_GNU_SOURCE \
	-DALLOW_EXPERIMENTAL_API -DEVS_VERSION='"$(VERSION)"' -I. -Iext/include -march=x86-64-v3 -mcx16 -mprfchw \
	-fno-strict-aliasing -MMD -MP
EVLINK   = -pie -Wl,-z,relro,-z,now -Wl,--as-needed $(SANFLAG) $(LDFLAGS)
LIBS     = $(PKG_LIBS) -lm -lpthread

SRC      := $(wildcard dp/*.c ctrl/*.c ext/*.c nvgre/*.c qos/*.c teaming/*.c hv/*.c)
OBJ      := $(SRC:%.c=$(BUILD)/%.o)
LIBOBJ   := $(filter-out $(BUILD)/ctrl/main.o,$(OBJ))
CTLOBJ   := $(patsubst %.c,$(BUILD)/%.o,$(wildcard tools/evsctl/*.c))
CTLLIB   := $(filter-out %/main.o,$(CTLOBJ))
SIGNOBJ  := $(patsubst %.c,$(BUILD)/%.o,$(wildcard tools/evs-sign/*.c))
UNIT     := $(patsubst %.c,$(BUILD)/%,$(wildcard tests/unit/*_test.c))
UNITRIG  := $(patsubst %.c,$(BUILD)/%.o,$(filter-out %_test.c,$(wildcard tests/unit/*.c)))
DPTEST   := $(patsubst %.c,$(BUILD)/%,$(wildcard tests/dataplane/*_test.c))
DPHARN   := $(patsubst %.c,$(BUILD)/%.o,$(filter-out %_test.c,$(wildcard tests/dataplane/*.c)))
FRONTOBJ := $(patsubst %.c,$(BUILD)/%.o,$(wildcard tools/bench/front/*.c))
BUDGET   := $(BUILD)/tools/bench/budget/budget $(BUILD)/tools/bench/budget/l4
BUDGETRIG := $(BUILD)/tools/bench/budget/rig.o $(BUILD)/tools/bench/budget/guest.o
# An extension: the public header, and nothing else of ours.
CAPTURE  := $(patsubst %.c,$(BUILD)/%.o,$(wildcard ext/capture/*.c))
FUZZERS  := $(patsubst tests/fuzz/%_fuzz.c,$(BUILD)/tests/fuzz/%_fuzz,$(wildcard tests/fuzz/*_fuzz.c))

all: $(BUILD)/evswitchd $(BUILD)/evsctl $(BUILD)/evs-sign $(BUILD)/ext/capture.so

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(EVFLAGS) -c $< -o $@
$(BUILD)/libevs.a: $(LIBOBJ)
	$(Q)rm -f $@ && ar rcs $@ $^
$(BUILD)/evswitchd: $(BUILD)/ctrl/main.o $(BUILD)/libevs.a
	$(call say,LINK,$@)
	$(Q)$(CC) $(EVLINK) $^ $(LIBS) -o $@
$(BUILD)/evsctl: $(CTLOBJ) $(BUILD)/libevs.a
	$(call say,LINK,$@)
	$(Q)$(CC) $(EVLINK) $^ $(shell pkg-config --libs jansson) -o $@
$(BUILD)/evs-sign: $(SIGNOBJ) $(BUILD)/libevs.a
	$(call say,LINK,$@)
	$(Q)$(CC) $(EVLINK) $^ $(shell pkg-config --libs libcrypto) -o $@
$(CAPTURE): $(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) -std=gnu17 $(CFLAGS) $(WARN) $(filter-out -fPIE,$(HARDEN)) -fPIC $(SANFLAG) -D_GNU_SOURCE \
		-Iext/include -MMD -MP -c $< -o $@
$(BUILD)/ext/capture.so: $(CAPTURE)
	$(call say,LINK,$@)
	$(Q)$(CC) -shared -Wl,-z,relro,-z,now -Wl,--as-needed $(SANFLAG) $(LDFLAGS) $^ -lpcap -lpthread -o $@
$(BUILD)/bench-front: $(FRONTOBJ)
	$(call say,LINK,$@)
	$(Q)$(CC) $(EVLINK) $^ -lpthread -o $@
$(BUILD)/tests/unit/front_test: $(filter-out %/main.o,$(FRONTOBJ))
$(UNIT): $(BUILD)/%: $(BUILD)/%.o $(UNITRIG) $(CTLLIB) $(BUILD)/libevs.a
	$(call say,LINK,$@)
	$(Q)$(CC) $(EVLINK) $^ $(LIBS) $(shell pkg-config --libs check) -o $@
$(DPTEST): $(BUILD)/%: $(BUILD)/%.o $(DPHARN) $(BUILD)/libevs.a
	$(call say,LINK,$@)
	$(Q)$(CC) $(EVLINK) $^ $(LIBS) $(shell pkg-config --libs check) -o $@
$(BUDGET): $(BUILD)/%: $(BUILD)/%.o $(BUDGETRIG) $(BUILD)/libevs.a
	$(call say,LINK,$@)
	$(Q)$(CC) $(EVLINK) $^ $(LIBS) -o $@
$(FUZZERS): $(BUILD)/%: $(BUILD)/%.o $(BUILD)/libevs.a
	$(call say,LINK,$@)
	$(Q)$(CC) $(EVLINK) -fsanitize=fuzzer $^ $(LIBS) -o $@

man: $(BUILD)/man/evsctl.1 $(BUILD)/man/evs-sign.1 $(BUILD)/man/evswitchd.8
$(BUILD)/man/evsctl.1: docs/man/evsctl.1.in tools/mkman $(BUILD)/evswitchd $(BUILD)/evsctl
	@mkdir -p $(@D)
	$(call say,MAN,$@)
	$(Q)$(BUILD)/evswitchd --methods >$@.json && tools/mkman $(BUILD)/evsctl <$@.json >$@.new && mv $@.new $@
$(BUILD)/man/%: docs/man/%
	@mkdir -p $(@D)
	$(Q)cp $< $@

run: setup
	$(Q)$(MAKE) --no-print-directory -j$$(nproc) all
	$(Q)BUILD=$(BUILD) tools/run
setup:
	$(Q)tools/setup
setup-test:
	$(Q)tools/setup --test
test: setup-test
	$(Q)tests/run
# Pieces of `test`, without installing anything.
test-programs: all front $(UNIT) $(DPTEST)
# Guests that load a switch, see its --help.
front: $(BUILD)/bench-front
bench:
	$(Q)tools/setup --bench
	$(Q)$(MAKE) --no-print-directory -j$$(nproc) all front budget-program
	$(Q)tools/bench/run $(ROW)
# Instructions per packet beside those that are checked in; UPDATE=1 writes them.
bench-budget: setup-test
	$(Q)$(MAKE) --no-print-directory -j$$(nproc) budget-program
	$(Q)BUILD=$(BUILD) tools/bench/budget/run $(if $(UPDATE),--update)
budget-program: $(BUDGET)
fuzz: setup-test
	$(Q)$(MAKE) --no-print-directory CC=clang BUILD=build/fuzz SAN=1 FUZZ=-fsanitize=fuzzer-no-link fuzz-programs
	$(Q)tests/fuzz/run $(FUZZ_SECONDS)
fuzz-programs: $(FUZZERS)
lint: setup-test
	$(Q)tools/lint
fmt:
	$(Q)git ls-files '*.c' '*.h' | xargs clang-format -i
install: all man
	$(Q)tools/install '$(DESTDIR)' '$(PREFIX)' '$(BUILD)'
clean:
	rm -rf build

-include $(OBJ:.o=.d) $(CAPTURE:.o=.d) $(CTLOBJ:.o=.d) $(SIGNOBJ:.o=.d) $(FRONTOBJ:.o=.d) $(UNIT:=.d) $(UNITRIG:.o=.d) $(DPTEST:=.d) $(DPHARN:.o=.d) $(BUDGET:=.d) $(BUDGETRIG:.o=.d) $(FUZZERS:=.d)
.PHONY: all man run setup setup-test test test-programs front bench bench-budget budget-program fuzz fuzz-programs lint fmt install clean
.SECONDARY:
