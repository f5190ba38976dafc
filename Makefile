# SPDX-License-Identifier: GPL-2.0-only
# make            the programs, in build/bin
# make demo       install what is missing, then show the pipeline on real traffic
# make test       install what is missing, then run every test
# lint bench fuzz install clean: as the names say; V=1 shows the commands
VERSION = 0.1.0
PREFIX ?= /usr/local
SBINDIR ?= $(PREFIX)/sbin
BINDIR ?= $(PREFIX)/bin
MANDIR ?= $(PREFIX)/share/man
UNITDIR ?= $(PREFIX)/lib/systemd/system
FUZZ_SECONDS ?= 60

B := build
K := $(B)# where the BPF object is: the same for the sanitizers' build
PROGRAMS := $(patsubst cmd/%.c,%,$(wildcard cmd/*.c))
ifeq ($(origin CC),default)
CC = gcc
endif
CLANG ?= clang
BPFTOOL ?= $(firstword $(wildcard /usr/sbin/bpftool /usr/bin/bpftool) bpftool)
CFLAGS ?= -O2 -g
WARN := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wformat=2 -Wno-unused-parameter
ALL_CFLAGS = -std=gnu11 $(WARN) $(CFLAGS) $(SANITIZE) -D_GNU_SOURCE -DFW_VERSION='"$(VERSION)"' -I. -I$(K)/gen -MMD -MP
# -mcpu=v3: without it clang 14 emits calls for atomics that return a value
J = $(if $(findstring j,$(firstword $(MAKEFLAGS))),,-j$(shell nproc))
BPF_CFLAGS := -O2 -g -target bpf -mcpu=v3 -Wall -Wextra -Wno-unused-parameter -Wno-unused-function \
	-I. -isystem /usr/include/$(shell uname -m)-linux-gnu -MMD -MP

LIB_OBJ := $(patsubst lib/%.c,$(B)/lib/%.o,$(wildcard lib/*.c))
FUZZ_C := $(wildcard tests/fuzz_*.c)
BENCH_C := $(filter-out %.bpf.c,$(wildcard tests/bench_*.c tests/gen_*.c))
PRELOAD_C := $(wildcard tests/preload_*.c)
TEST_C := $(filter-out $(FUZZ_C) $(BENCH_C) $(PRELOAD_C) %.bpf.c,$(wildcard tests/*.c))
TEST_BIN := $(TEST_C:%.c=$(B)/%)
TEST_BPF := $(patsubst %.bpf.c,$(B)/%.bpf.o,$(filter-out tests/bench%,$(wildcard tests/*.bpf.c)))
# mostly wait, so that they can run beside others
BESIDE := audit,caps,check,faults_*,fwc,fwstat,hooks_matrix,ir_read,live_trial,lockout,man,pins,seed,systemd,upgrade
UNIT := $(patsubst %.c,%,$(wildcard tests/unit_*.c))
ASAN := B=$(B)/asan K=$(K) CFLAGS='-O1 -g -fno-omit-frame-pointer' \
	SANITIZE='-fsanitize=address,undefined -fno-sanitize-recover=undefined'

all: $(PROGRAMS:%=$(B)/bin/%)

$(B)/bpf/%.bpf.o: bpf/%.bpf.c
	mkdir -p $(@D)
	echo "  BPF $<"
	$(CLANG) $(BPF_CFLAGS) -MT $@ -MF $(@:.o=.d) -c $< -o $@.tmp
	llvm-strip -g $@.tmp
	mv $@.tmp $@

$(B)/tests/%.bpf.o: tests/%.bpf.c
	mkdir -p $(@D)
	echo "  BPF $<"
	$(CLANG) $(BPF_CFLAGS) -MT $@ -MF $(@:.o=.d) -c $< -o $@

$(B)/gen/%.skel.h: $(B)/bpf/%.bpf.o
	mkdir -p $(@D)
	echo "  GEN $@"
	$(BPFTOOL) gen skeleton $< name $* > $@.tmp
	mv $@.tmp $@

$(B)/gen/%.skel.h: $(B)/tests/%.bpf.o
	mkdir -p $(@D)
	echo "  GEN $@"
	$(BPFTOOL) gen skeleton $< name $* > $@.tmp
	mv $@.tmp $@

$(B)/lib/kern_prog.o: $(K)/gen/fw.skel.h
$(B)/tests/bench_run.o $(B)/tests/bench_wire.o: $(K)/gen/bench.skel.h

$(B)/%.o: %.c
	mkdir -p $(@D)
	echo "  CC $<"
	$(CC) $(ALL_CFLAGS) -c $< -o $@

$(B)/lib/libfw.a: $(LIB_OBJ)
	echo "  AR $@"
	rm -f $@
	$(AR) rcs $@ $^

# fwc needs neither privilege nor kernel, and so no libbpf
$(B)/bin/fwc: LIBS := -lyaml
$(B)/bin/%: LIBS := -lbpf -lelf -lz

$(B)/bin/%: $(B)/cmd/%.o $(B)/lib/libfw.a
	mkdir -p $(@D)
	echo "  LD $@"
	$(CC) $(CFLAGS) $(SANITIZE) $(LDFLAGS) -o $@ $^ $(LIBS)

$(TEST_BIN) $(BENCH_C:%.c=$(B)/%): $(B)/tests/%: $(B)/tests/%.o $(B)/lib/libfw.a
	echo "  LD $@"
	$(CC) $(CFLAGS) $(SANITIZE) $(LDFLAGS) -o $@ $^ -lyaml -ljansson -lbpf -lelf -lz

$(FUZZ_C:%.c=$(B)/%): $(B)/tests/fuzz_%: $(B)/tests/fuzz_%.o $(B)/lib/libfw.a
	echo "  LD $@"
	$(CC) $(CFLAGS) $(SANITIZE) -fsanitize=fuzzer $(LDFLAGS) -o $@ $^ -lyaml -ljansson -lbpf -lelf -lz

$(B)/tests/preload_%.so: tests/preload_%.c
	mkdir -p $(@D)
	echo "  LD $@"
	$(CC) -std=gnu11 $(WARN) $(CFLAGS) -D_GNU_SOURCE -shared -fPIC -o $@ $<

tests: all $(TEST_BIN) $(TEST_BPF) $(PRELOAD_C:%.c=$(B)/%.so)
fuzzers: $(FUZZ_C:%.c=$(B)/%)

# What setup.sh may install is looked for when make starts: hence the second make.
demo:
	tests/setup.sh demo
	$(MAKE) --no-print-directory $(J) all
	examples/demo.sh

test:
	tests/setup.sh test
	$(MAKE) --no-print-directory $(J) tests
	$(MAKE) --no-print-directory $(J) $(ASAN) tests
	B=$(B) prove --timer --failures --comments -j2 --rules='par=**/unit_*' --rules='seq=tests/{$(BESIDE)}.t' \
		--rules='seq=tests/*.t' $(PROVE_FLAGS) \
		$(UNIT:%=$(B)/%) $(UNIT:%=$(B)/asan/%) $(sort $(wildcard tests/*.t))

lint:
	tests/setup.sh lint
	$(MAKE) --no-print-directory $(J) all
	B=$(B) tests/lint.sh

benchmarks: all $(BENCH_C:%.c=$(B)/%)

bench:
	tests/setup.sh bench
	$(MAKE) --no-print-directory $(J) benchmarks
	B=$(B) tests/bench.sh $(SECTIONS)

fuzz:
	tests/setup.sh fuzz
	$(MAKE) --no-print-directory $(J) B=$(B)/fuzz K=$(B) CC=$(CLANG) SANITIZE=-fsanitize=fuzzer-no-link,address,undefined fuzzers
	for f in $(FUZZ_C:tests/fuzz_%.c=%); do \
		mkdir -p $(B)/fuzz/corpus/$$f; seeds=$$(ls -d tests/$$f 2>/dev/null); \
		$(B)/fuzz/tests/fuzz_$$f -max_total_time=$(FUZZ_SECONDS) -max_len=4096 -timeout=10 -print_final_stats=1 \
			-artifact_prefix=$(B)/fuzz/$$f- $(B)/fuzz/corpus/$$f $$seeds >$(B)/fuzz/$$f.log 2>&1 || \
			{ tail -n 50 $(B)/fuzz/$$f.log; exit 1; }; \
		echo "fuzz_$$f: $$(sed -n 's/^stat::number_of_executed_units: *//p' $(B)/fuzz/$$f.log) inputs, no fault"; done

install: all
	install -d $(DESTDIR)$(BINDIR) $(DESTDIR)$(SBINDIR)
	install $(B)/bin/fwc $(DESTDIR)$(BINDIR)
	install $(filter-out %/fwc,$(PROGRAMS:%=$(B)/bin/%)) $(DESTDIR)$(SBINDIR)
	for page in man/*.[1-8]; do \
		install -D -m 644 $$page $(DESTDIR)$(MANDIR)/man$${page##*.}/$${page##*/} || exit 1; done
	install -d $(DESTDIR)$(UNITDIR)
	for unit in examples/systemd/*.service examples/systemd/*.timer; do \
		sed 's|/usr/local/bin/|$(BINDIR)/|g; s|/usr/local/sbin/|$(SBINDIR)/|g' $$unit \
			>$(DESTDIR)$(UNITDIR)/$${unit##*/} || exit 1; done

clean:
	rm -rf $(B)

$(V).SILENT:
.PHONY: all tests fuzzers benchmarks demo test lint bench fuzz install clean
.SECONDARY:
-include $(wildcard $(B)/*/*.d)
