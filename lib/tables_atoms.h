/* SPDX-License-Identifier: GPL-2.0-only */
/* Atoms: the distinct sets and single prefixes that the rules of one direction name on one side (source or
 * destination), each with the rules that name it. The sweep over the address space turns whole atoms on and
 * off, so that a set of a million prefixes costs the same whether one rule names it or fifty. */
#ifndef FW_TABLES_ATOMS_H
#define FW_TABLES_ATOMS_H

#include "tables_build.h"

struct atom_use {
	uint32_t rule;
	bool negate;
};

struct atom {
	int set;	  /* index of the policy's set, or -1 */
	struct cidr cidr; /* of set -1 */
	struct atom_use *uses;
	size_t n_uses, room;
	uint32_t depth;	    /* sweep: how many of its prefixes cover the current address */
	bool applied, dirty; /* sweep: as the class has it; on the list of changes */
};

struct atoms {
	struct atom *atoms;
	size_t n, room;
	uint32_t *by_set; /* atom of each set + 1 */
	struct {
		uint32_t atom; /* + 1 */
	} *by_cidr;
	size_t cidr_room;
	/* per rule of the direction */
	uint32_t *including, *excluding; /* covering atoms of either kind */
};

/* atoms_collect(a, l, source): from the rules of ${l}'s direction. */
void atoms_collect(struct atoms *a, const struct lower *l, bool source);
void atoms_free(struct atoms *a);

/* Rule ${rule} matches the current address: covered by an including atom (or it has none) and by no excluding
 * one. */
static inline bool atoms_match(const struct atoms *a, uint32_t rule)
{
	return a->including[rule] && !a->excluding[rule];
}

#endif
