/* SPDX-License-Identifier: GPL-2.0-only */
/* The part of a load that changes something, for lib/load*.c only. */
#ifndef FW_LOAD_PLACE_H
#define FW_LOAD_PLACE_H

#include "load_report.h"

/* load_guard(l): should memory run out and die() end the program, ${l} leaves things as they were; NULL: it is over. */
void load_guard(struct load *l);

/* load_place(l): the lowered tables of ${l} decide, or are on trial, or are audited. 0, or an exit status after complaining
 * and putting everything back. Signals wait until it is done. */
int load_place(struct load *l);

/* load_sweep(in): remove an instance that enforces nothing: pins of an unfinished first load, or of a dry run. */
void load_sweep(const struct inst *in);

#endif
