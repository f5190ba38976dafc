# SPDX-License-Identifier: GPL-2.0-only
# make            the programs, in build/bin
# make demo       install what is missing, then show the pipeline on real traffic
# make test       install what is missing, then run every test
# lint bench fuzz install clean: as the names say
VERSION = 0.1.0
PREFIX ?= /usr/local
SBINDIR ?= $(PREFIX)/sbin
BINDIR ?= $(PREFIX)/bin
MANDIR ?= $(PREFIX)/share/man

B := build
PROGRAMS := $(patsubst cmd/%.c,%,$(wildcard cmd/*.c))
CC ?= gcc
CLANG ?= clang
BPFTOOL ?= $(firstword $(wildcard /usr/sbin/bpftool /usr/bin/bpftool) bpftool)
CFLAGS ?= -O2 -g
WARN := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wformat=2 -Wno-unused-parameter
ALL_CFLAGS := -std=gnu11 $(WARN) $(CFLAGS) $(SANITIZE) -D_GNU_SOURCE -DFW_VERSION='"$(VERSION)"' -I. -I$(B)/gen -MMD -MP
# -mcpu=v3: without it clang 14 emits calls for atomics that return a value
BPF_CFLAGS := -O2 -g -target bpf -mcpu=v3 -Wall -Wextra -Wno-unused-parameter -Wno-unused-function \
	-I. -isystem /usr/include/$(shell uname -m)-linux-gnu -MMD -MP

LIB_SRC := $(wildcard lib/*.c)
LIB_OBJ := $(LIB_SRC:lib/%.c=$(B)/lib/%.o)

all: $(PROGRAMS:%=$(B)/bin/%)

$(B)/bpf/%.bpf.o: bpf/%.bpf.c
	@mkdir -p $(@D)
	$(CLANG) $(BPF_CFLAGS) -MT $@ -MF $(@:.o=.d) -c $< -o $@.tmp
	llvm-strip -g $@.tmp
	mv $@.tmp $@

$(B)/gen/%.skel.h: $(B)/bpf/%.bpf.o
	@mkdir -p $(@D)
	$(BPFTOOL) gen skeleton $< name $* > $@.tmp
	mv $@.tmp $@

$(B)/lib/kern_prog.o: $(B)/gen/fw.skel.h

$(B)/lib/%.o: lib/%.c
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -c $< -o $@

$(B)/cmd/%.o: cmd/%.c
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -c $< -o $@

$(B)/lib/libfw.a: $(LIB_OBJ)
	rm -f $@
	$(AR) rcs $@ $^

# fwc needs neither privilege nor kernel, and so no libbpf
$(B)/bin/fwc: LIBS := -lyaml -ljansson
$(B)/bin/%: LIBS := -lbpf -ljansson -lelf -lz

$(B)/bin/%: $(B)/cmd/%.o $(B)/lib/libfw.a
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(SANITIZE) $(LDFLAGS) -o $@ $^ $(LIBS)

clean:
	rm -rf $(B)

.PHONY: all clean
.SECONDARY:
-include $(wildcard $(B)/*/*.d)
