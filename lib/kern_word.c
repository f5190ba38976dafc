/* SPDX-License-Identifier: GPL-2.0-only */
/* The control word: which generation decides, until when, and what comes after it. */
#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "boot_clock.h"
#include "kern_load.h"
#include "kern_slot.h"

int kern_word_open(struct kern *k)
{
	void *p;

	if (k->control)
		return 0;
	p = mmap(NULL, sizeof(*k->control), PROT_READ | PROT_WRITE, MAP_SHARED, k->maps[KM_CONTROL], 0);
	if (p == MAP_FAILED) {
		complain("cannot map the control word: %s", strerror(errno));
		return EXIT_SYSTEM;
	}
	k->control = p;
	return 0;
}

void kern_word_read(struct kern *k)
{
	uint64_t now = boot_ms();

	k->word = *(volatile __u64 *)&k->control->word;
	k->trial_over = k->word & FW_WORD_TRIAL && now >= FW_WORD_DEADLINE(k->word);
	k->trial_ms = k->word & FW_WORD_TRIAL && !k->trial_over ? FW_WORD_DEADLINE(k->word) - now : 0;
	k->slot = FW_WORD_ACTIVE(k->trial_over ? FW_WORD_REVERTED(k->word) : k->word);
}

/* Under the instance's lock nobody but a program that commits a trial writes the word: false, and it has been read
 * again. */
static bool swap_word(struct kern *k, __u64 next)
{
	__u64 old = k->word;
	bool done = __atomic_compare_exchange_n(&k->control->word, &old, next, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);

	kern_word_read(k);
	return done;
}

static void set_word(struct kern *k, __u64 next)
{
	while (!swap_word(k, next))
		;
}

/* Said before the word changes, for readers who see the new word to find it. */
static void give_up(struct kern *k, __u32 generation, __u64 at_ms)
{
	k->control->reverted = generation;
	__atomic_store_n(&k->control->reverted_at, at_ms, __ATOMIC_SEQ_CST);
}

void kern_trial_record(struct kern *k)
{
	if (!k->trial_over)
		return;
	give_up(k, kern_generation(k, FW_WORD_ACTIVE(k->word)), FW_WORD_DEADLINE(k->word));
	set_word(k, FW_WORD_REVERTED(k->word));
}

/* By a program: a process can be stopped between looking at the clock and writing the word for as long as anybody
 * likes, and would then bring back what has been given up. */
int kern_trial_commit(struct kern *k, bool *late)
{
	while (k->word & FW_WORD_TRIAL && !k->trial_over) {
		struct fw_commit commit = { .word = k->word };
		LIBBPF_OPTS(bpf_test_run_opts, opts, .ctx_in = &commit, .ctx_size_in = sizeof(commit));

		if (bpf_prog_test_run_opts(k->progs[KP_COMMIT], &opts)) {
			complain("cannot commit (progs/commit of instance %s): %s", k->in->name, strerror(errno));
			return EXIT_SYSTEM;
		}
		kern_word_read(k);
	}
	*late = k->trial_over;
	return 0;
}

bool kern_roll_back(struct kern *k)
{
	__u32 slot = FW_WORD_ACTIVE(k->word), back = FW_WORD_FALLBACK(k->word);

	if (k->trial_over)
		return false;
	give_up(k, kern_generation(k, slot), boot_ms());
	set_word(k, FW_WORD(back, 0, 0));
	return true;
}

__u32 kern_slot_free(const struct kern *k)
{
	for (__u32 s = 1; s < FW_SLOTS; s++)
		if (s != FW_WORD_ACTIVE(k->word) && s != FW_WORD_FALLBACK(k->word) && s != FW_WORD_CANDIDATE(k->word))
			return s;
	return 0; /* there are more slots than these three */
}

void kern_switch(struct kern *k, unsigned int trial_ms, bool same)
{
	__u64 word = FW_WORD(k->new_slot, k->slot, 0);

	k->control->abi = FW_ABI;
	k->control->last_generation = k->new_generation;
	if (same) {
		word = FW_WORD(k->new_slot, FW_WORD_FALLBACK(k->word), FW_WORD_CANDIDATE(k->word));
	} else {
		k->control->reverted_at = 0;
		k->control->reverted = 0;
	}
	if (trial_ms)
		word = FW_WORD_ON_TRIAL(word, boot_ms() + trial_ms);
	set_word(k, word);
}

void kern_audit(struct kern *k, __u32 slot)
{
	if (slot)
		k->control->last_generation = k->new_generation;
	set_word(k, FW_WORD(FW_WORD_ACTIVE(k->word), FW_WORD_FALLBACK(k->word), slot));
}

void kern_stop(struct kern *k)
{
	set_word(k, 0);
}

void kern_settle(struct kern *k)
{
	char path[INST_PATH_MAX];

	kern_word_read(k);
	for (__u32 s = 1; s < FW_SLOTS; s++) {
		if (s == FW_WORD_ACTIVE(k->word) || s == FW_WORD_FALLBACK(k->word) || s == FW_WORD_CANDIDATE(k->word))
			continue;
		bpf_map_delete_elem(k->maps[KM_ARENAS], &s);
		inst_unlink(k->in, inst_pin(k->in, path, "maps/meta%u", s));
		inst_unlink(k->in, inst_pin(k->in, path, "maps/" SLOT_PIN "%u", s));
	}
}

__u32 kern_generation(const struct kern *k, __u32 slot)
{
	int fd = slot ? slot_image_fd(k->in->dir, k->maps[KM_ARENAS], slot) : -1;
	struct slot_view s = { 0 };
	__u32 generation = 0;

	if (fd < 0)
		return 0;
	if (!slot_map_header(&s, fd) && s.arena)
		generation = s.arena->generation;
	slot_close(&s);
	close(fd);
	return generation;
}

/* What this process has put into a slot may not be pinned yet. */
static int image_fd(const struct kern *k, __u32 slot)
{
	int own = k->staged && slot == k->new_slot ? k->new_arena : k->copies[slot];

	return own >= 0 ? fcntl(own, F_DUPFD_CLOEXEC, 0) : slot_image_fd(k->in->dir, k->maps[KM_ARENAS], slot);
}

int kern_partial(struct kern *k, __u32 slot, bool on)
{
	int fd = slot ? image_fd(k, slot) : -1;
	struct fw_arena *a;

	if (!slot)
		return 0;
	if (fd < 0) {
		complain("cannot open the tables in slot %u of instance %s: %s", slot, k->in->name, strerror(errno));
		return EXIT_SYSTEM;
	}
	a = mmap(NULL, sizeof(*a), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (a == MAP_FAILED) {
		complain("cannot map the tables in slot %u of instance %s: %s", slot, k->in->name, strerror(errno));
		return EXIT_SYSTEM;
	}
	if (on)
		__atomic_or_fetch(&a->flags, FW_ARENA_PARTIAL, __ATOMIC_SEQ_CST);
	else
		__atomic_and_fetch(&a->flags, ~FW_ARENA_PARTIAL, __ATOMIC_SEQ_CST);
	munmap(a, sizeof(*a));
	return 0;
}
