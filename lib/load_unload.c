/* SPDX-License-Identifier: GPL-2.0-only */
#include "kern_link.h"
#include "load.h"

int load_unload(const struct load_options *o)
{
	struct inst in = INST_NONE;
	struct kern k;
	int err = inst_open(&in, o->instance, false);

	/* an unload that was killed left directories without pins */
	if (err == EXIT_JUDGED && in.dir >= 0)
		err = 0;
	if (err == EXIT_JUDGED) {
		if (o->verbose)
			complain("instance %s is not loaded", o->instance);
		return EXIT_DONE;
	}
	kern_init(&k, &in);
	if (!err)
		err = inst_lock(&in, o->wait_ms);
	if (err) {
		inst_close(&in);
		return err == EXIT_JUDGED ? EXIT_DONE : err; /* another has just removed it */
	}
	/* Pins of another version can't be understood, but they can be removed. At once on all hooks where the word can be
	 * written, and so that another try finds what this one, should it be killed, has left. */
	kern_repair(&k);
	kern_open(&k);
	if (k.control)
		kern_stop(&k);
	err = links_drop_all(&in) | inst_empty(&in, "progs") | inst_empty(&in, "maps");
	if (!err)
		err = inst_remove(&in);
	kern_close(&k);
	inst_close(&in);
	return err ? EXIT_SYSTEM : EXIT_DONE;
}
