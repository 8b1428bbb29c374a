# ZMLX: GNU make.  `make help` lists the targets.
MAKEFLAGS += --no-builtin-rules
.SUFFIXES:
.DELETE_ON_ERROR:
.DEFAULT_GOAL := all

CC ?= cc
ifeq ($(origin CC),default)
CC := cc
endif
PREFIX ?= /usr/local
DESTDIR ?=
# BUILD is a folder per configuration: sanitizer builds do not disturb the ordinary one.
BUILD ?= build
OPT ?= -O3
SANITIZE ?=
KERNEL_SANITIZE ?= $(SANITIZE)
WERROR ?=
# V=1 shows the commands.
Q := $(if $(V),,@)
say = @echo "  $(1)$@"
PKG_CONFIG ?= pkg-config
# Which tests `make test` runs, in this order.
SUITES ?= unit parity golden fuzz cli
FUZZ_SECONDS ?= 30
VERSION := 0.1.0
SOMAJOR := 0

DEPS := jansson libpcre2-8 libutf8proc libxxhash
ifneq ($(filter-out clean help format install-% uninstall,$(or $(MAKECMDGOALS),all)),)
MISSING := $(foreach d,$(DEPS),$(if $(shell $(PKG_CONFIG) --exists $(d) 2>/dev/null && echo yes),,$(d)))
$(if $(strip $(MISSING)),$(error $(PKG_CONFIG) does not find: $(strip $(MISSING)).  ./demo.sh installs what is missing))
DEPS_CFLAGS := $(shell $(PKG_CONFIG) --cflags $(DEPS))
DEPS_LIBS := $(shell $(PKG_CONFIG) --libs $(DEPS)) -lm -lpthread
endif

# Instruction-set levels of kernels (src/kernels/lanes.h): every *.k.c is built once per level.
# -O3 unrolls sixteen lanes of plain C into minutes of compile time for nothing.
LEVEL_scalar := -DZX_LEVEL=0 -O2
LEVEL_avx512 := -DZX_LEVEL=1 -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vbmi -mavx512bf16 -mfma -mf16c -mprefer-vector-width=512
ifneq ($(filter x86_64-%,$(shell $(CC) -dumpmachine 2>/dev/null)),)
LEVELS := scalar avx512
else
LEVELS := scalar
ARCH_CFLAGS := -DZX_NO_AVX512
endif

WARN := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wcast-qual -Wwrite-strings -Wvla -Wundef \
        -Wpointer-arith -Wno-psabi $(if $(WERROR),-Werror)
# No fast-math anywhere; -ffp-contract=off: a fused multiply-add stands where the source says so (docs/NUMERICS.md).
BASE_CFLAGS := -std=c11 -D_GNU_SOURCE $(OPT) -g -ffp-contract=off -fno-math-errno -fvisibility=hidden -fPIC \
               $(WARN) $(ARCH_CFLAGS) -Iinclude -Isrc -I$(BUILD)/gen $(DEPS_CFLAGS)
ALL_CFLAGS = $(BASE_CFLAGS) $(SANITIZE) $(CFLAGS) -MMD -MP
KERNEL_CFLAGS = $(BASE_CFLAGS) $(KERNEL_SANITIZE) $(CFLAGS) -MMD -MP
ALL_LDFLAGS = $(SANITIZE) $(LDFLAGS)

KERNEL_SRC := $(wildcard src/kernels/*.k.c)
LIB_SRC := $(filter-out $(KERNEL_SRC),$(wildcard src/*/*.c src/*/*/*.c))
LIB_OBJ := $(LIB_SRC:%.c=$(BUILD)/%.o) \
           $(foreach l,$(LEVELS),$(KERNEL_SRC:%.c=$(BUILD)/%.$(l).o))
CLI_OBJ := $(patsubst %.c,$(BUILD)/%.o,$(wildcard cli/*.c))
GEN := $(addprefix $(BUILD)/gen/,kernels.inc families.inc patterns.inc commands.inc)

LIB := $(BUILD)/libzmlx.a
SHLIB := $(BUILD)/libzmlx.so.$(VERSION)
BIN := $(BUILD)/zmlx

.PHONY: all
all: $(BIN) $(LIB) $(SHLIB) ## the command, the static and the shared library

# Runs always, writes only what changed: a kernel that was added or removed is noticed.
$(GEN) &: FORCE
	@tools/gen-registry $(BUILD)/gen
.PHONY: FORCE
FORCE:

$(BUILD)/%.scalar.o: %.c | $(GEN)
	@mkdir -p $(@D)
	$(call say,CC   )
	$(Q)$(CC) $(KERNEL_CFLAGS) $(LEVEL_scalar) -c $< -o $@
$(BUILD)/%.avx512.o: %.c | $(GEN)
	@mkdir -p $(@D)
	$(call say,CC   )
	$(Q)$(CC) $(KERNEL_CFLAGS) $(LEVEL_avx512) -c $< -o $@
$(BUILD)/%.o: %.c | $(GEN)
	@mkdir -p $(@D)
	$(call say,CC   )
	$(Q)$(CC) $(ALL_CFLAGS) -c $< -o $@

# The list of objects: without it an archive would keep what a removed source left in it.
$(BUILD)/objects.txt: FORCE
	@mkdir -p $(@D)
	@echo '$(LIB_OBJ)' | cmp -s - $@ || echo '$(LIB_OBJ)' >$@

$(LIB): $(LIB_OBJ) $(BUILD)/objects.txt
	@rm -f $@
	$(call say,AR   )
	$(Q)$(AR) rcs $@ $(LIB_OBJ)
$(SHLIB): $(LIB_OBJ) $(BUILD)/objects.txt
	$(call say,LINK )
	$(Q)$(CC) -shared -Wl,-soname,libzmlx.so.$(SOMAJOR) $(ALL_LDFLAGS) $(LIB_OBJ) -o $@ $(DEPS_LIBS)
	@ln -sf $(@F) $(BUILD)/libzmlx.so.$(SOMAJOR) && ln -sf $(@F) $(BUILD)/libzmlx.so
$(BIN): $(CLI_OBJ) $(LIB)
	$(call say,LINK )
	$(Q)$(CC) $(ALL_LDFLAGS) $^ -o $@ $(DEPS_LIBS)

# The same command with one fused kernel that is wrong on purpose: `validate` has to find it (tests/cli/validate.sh).
WRONG_OBJ := $(LEVELS:%=$(BUILD)/wrong/moe_combine.%.o)
$(BUILD)/wrong/moe_combine.%.o: src/kernels/moe_combine.k.c | $(GEN)
	@mkdir -p $(@D)
	$(call say,CC   )
	$(Q)$(CC) $(KERNEL_CFLAGS) $(LEVEL_$*) -DZX_TEST_WRONG_KERNEL -c $< -o $@
$(BUILD)/zmlx-wrong: $(CLI_OBJ) $(WRONG_OBJ) $(LIB)
	$(call say,LINK )
	$(Q)$(CC) $(ALL_LDFLAGS) $^ -o $@ $(DEPS_LIBS)

# Tests: every tests/unit/test_*.c and every C file of tests/parity and tests/golden is a program of its own; one
# called NAME_main.c is not a test but a tool for making some.
TEST_TOOL_SRC := $(wildcard tests/parity/*_main.c tests/golden/*_main.c)
TEST_SRC := $(filter-out $(TEST_TOOL_SRC),$(wildcard tests/unit/test_*.c tests/parity/*.c tests/golden/*.c))
TEST_BIN := $(TEST_SRC:%.c=$(BUILD)/%)
TEST_TOOL_BIN := $(TEST_TOOL_SRC:%.c=$(BUILD)/%)
$(TEST_BIN) $(TEST_TOOL_BIN): $(BUILD)/%: $(BUILD)/%.o $(LIB)
	$(call say,LINK )
	$(Q)$(CC) $(ALL_LDFLAGS) $^ -o $@ -lcmocka $(DEPS_LIBS)

# A fuzz target is built twice: to replay its corpus (any compiler), and with libFuzzer (clang; targets feed parsers, so
# the kernels, slow to compile with instrumentation, go without).
FUZZ_SRC := $(wildcard tests/fuzz/fuzz_*.c)
REPLAY_BIN := $(FUZZ_SRC:%.c=$(BUILD)/%)
FUZZ_BIN := $(FUZZ_SRC:%.c=$(BUILD)/%.libfuzzer)
$(REPLAY_BIN): $(BUILD)/%: $(BUILD)/%.o $(BUILD)/tests/fuzz/replay_main.o $(LIB)
	$(call say,LINK )
	$(Q)$(CC) $(ALL_LDFLAGS) $^ -o $@ $(DEPS_LIBS)
$(FUZZ_BIN): $(BUILD)/%.libfuzzer: $(BUILD)/%.o $(LIB)
	$(call say,LINK )
	$(Q)$(CC) $(ALL_LDFLAGS) -fsanitize=fuzzer $^ -o $@ $(DEPS_LIBS)

# Programs under bench/ and examples/ use the public headers and the library only.
BENCH_BIN := $(patsubst %.c,$(BUILD)/%,$(wildcard bench/*.c))
EXAMPLE_BIN := $(patsubst %.c,$(BUILD)/%,$(wildcard examples/*.c))
$(BENCH_BIN) $(EXAMPLE_BIN): $(BUILD)/%: $(BUILD)/%.o $(LIB)
	$(call say,LINK )
	$(Q)$(CC) $(ALL_LDFLAGS) $^ -o $@ $(DEPS_LIBS)

TESTS = $(foreach s,$(SUITES),$(filter $(BUILD)/tests/$(s)/%,$(TEST_BIN) $(REPLAY_BIN)) $(wildcard tests/$(s)/*.sh))
.PHONY: test test-programs objects demo bench examples
objects: $(LIB_OBJ) $(CLI_OBJ) $(patsubst %,%.o,$(TEST_BIN) $(TEST_TOOL_BIN) $(REPLAY_BIN) $(BENCH_BIN) $(EXAMPLE_BIN)) # compile only
test-programs: $(TEST_BIN) $(REPLAY_BIN) $(TEST_TOOL_BIN)
examples: $(EXAMPLE_BIN) ## the programs under examples/
test: $(BIN) $(BUILD)/zmlx-wrong $(filter $(BUILD)/%,$(TESTS)) $(EXAMPLE_BIN) ## run all tests; SUITES="unit cli" picks some
	@tools/run-tests $(BUILD) $(TESTS)
demo: $(BIN) ## the main job on the small model that comes along
	@tools/run-demo $(BIN)
bench: $(BIN) $(BENCH_BIN) ## stock against patched on the demo model, then every program of bench/
	@set -e; $(BIN) validate models/demo --max-tokens 200 --runs 5; for b in $(BENCH_BIN); do echo "== $$b"; $$b; done

# Sanitizers: a build of their own, the same suites.
NO_RECOVER := -fno-omit-frame-pointer -fno-sanitize-recover=all
SAN_MAKE = +@$(MAKE) --no-print-directory OPT=-O1
.PHONY: asan ubsan tsan fuzz fuzz-programs
asan: ## all tests under AddressSanitizer and LeakSanitizer
	$(SAN_MAKE) BUILD=build-asan SANITIZE="-fsanitize=address $(NO_RECOVER)" test
ubsan: ## all tests under UndefinedBehaviorSanitizer
	$(SAN_MAKE) BUILD=build-ubsan SANITIZE="-fsanitize=undefined $(NO_RECOVER)" test
THREADED = $(shell grep -l -E 'zx_team|threads' $(TEST_SRC))
tsan: ## the tests that use threads under ThreadSanitizer
	$(SAN_MAKE) BUILD=build-tsan SANITIZE="-fsanitize=thread $(NO_RECOVER)" TESTS="$(THREADED:%.c=build-tsan/%)" test
fuzz: ## libFuzzer with ASan and UBSan, FUZZ_SECONDS per target (clang)
	+@if ! command -v clang >/dev/null; then echo "skipped: clang not found"; else \
	$(MAKE) --no-print-directory BUILD=build-fuzz CC=clang OPT=-O1 LEVELS=scalar ARCH_CFLAGS=-DZX_NO_AVX512 \
	    SANITIZE="-fsanitize=fuzzer-no-link,address,undefined $(NO_RECOVER)" KERNEL_SANITIZE= fuzz-programs && \
	tools/run-fuzz build-fuzz $(FUZZ_SECONDS) $(FUZZ_SRC:%.c=build-fuzz/%.libfuzzer); fi
fuzz-programs: $(FUZZ_BIN)

C_FILES = $(wildcard include/zmlx/*.h src/*/*.[ch] src/*/*/*.[ch] cli/*.[ch] tests/*/*.[ch] bench/*.[ch] examples/*.[ch])
.PHONY: lint format compile_commands.json
lint: $(BIN) $(LIB) $(SHLIB) ## format, static analysis, layering, symbols, warnings of both compilers, links in documents
	+@MAKE="$(MAKE)" tools/lint $(BUILD) $(C_FILES)
format: ## clang-format everything in place
	clang-format -i $(C_FILES)
compile_commands.json: ## for editors and clangd
	@$(MAKE) --no-print-directory -Bn objects | tools/gen-compile-commands >$@

# Installation.  DESTDIR stages files and is never written into one.
BINDIR ?= $(PREFIX)/bin
LIBDIR ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
DOCDIR ?= $(PREFIX)/share/doc/zmlx
INSTALL ?= install
DOCS = $(wildcard README.md LICENSE SECURITY.md docs/*.md)
.PHONY: install uninstall clean help
install: all ## to PREFIX (/usr/local), staged under DESTDIR
	$(INSTALL) -d $(DESTDIR)$(BINDIR) $(DESTDIR)$(LIBDIR)/pkgconfig $(DESTDIR)$(INCLUDEDIR)/zmlx $(DESTDIR)$(DOCDIR)
	$(INSTALL) -m 755 $(BIN) $(DESTDIR)$(BINDIR)/zmlx
	$(INSTALL) -m 644 $(LIB) $(DESTDIR)$(LIBDIR)/libzmlx.a
	$(INSTALL) -m 755 $(SHLIB) $(DESTDIR)$(LIBDIR)/libzmlx.so.$(VERSION)
	ln -sf libzmlx.so.$(VERSION) $(DESTDIR)$(LIBDIR)/libzmlx.so.$(SOMAJOR)
	ln -sf libzmlx.so.$(SOMAJOR) $(DESTDIR)$(LIBDIR)/libzmlx.so
	$(INSTALL) -m 644 include/zmlx/*.h $(DESTDIR)$(INCLUDEDIR)/zmlx
	sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@LIBDIR@|$(LIBDIR:$(PREFIX)/%=$${prefix}/%)|' \
	    -e 's|@INCLUDEDIR@|$(INCLUDEDIR:$(PREFIX)/%=$${prefix}/%)|' \
	    -e 's|@VERSION@|$(VERSION)|' -e 's|@DEPS@|$(DEPS)|' tools/zmlx.pc.in >$(BUILD)/zmlx.pc
	$(INSTALL) -m 644 $(BUILD)/zmlx.pc $(DESTDIR)$(LIBDIR)/pkgconfig/zmlx.pc
	$(INSTALL) -m 644 $(DOCS) $(DESTDIR)$(DOCDIR)
uninstall: ## what install put there
	rm -f $(DESTDIR)$(BINDIR)/zmlx $(DESTDIR)$(LIBDIR)/libzmlx.a $(DESTDIR)$(LIBDIR)/libzmlx.so \
	    $(DESTDIR)$(LIBDIR)/libzmlx.so.$(SOMAJOR) $(DESTDIR)$(LIBDIR)/libzmlx.so.$(VERSION) \
	    $(DESTDIR)$(LIBDIR)/pkgconfig/zmlx.pc
	rm -rf $(DESTDIR)$(INCLUDEDIR)/zmlx $(DESTDIR)$(DOCDIR)

clean: ## remove every build folder
	rm -rf build build-*
help: ## this list
	@sed -n 's/^\([a-z_.]*\):[^#]*## \(.*\)/  \1\t\2/p' Makefile | expand -t 26
	@echo "Variables: CC CFLAGS LDFLAGS OPT BUILD V=1 WERROR=1 PREFIX DESTDIR SUITES FUZZ_SECONDS"

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
