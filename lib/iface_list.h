/* SPDX-License-Identifier: GPL-2.0-only */
/* The interfaces of this network namespace, by rtnetlink(7). (sysfs shows those of the namespace that mounted it.) */
#ifndef FW_IFACE_LIST_H
#define FW_IFACE_LIST_H

#include "tables.h"

/* iface_list(list, n): all interfaces with name, index, hardware type and whether they are a device on a bus; the
 * caller frees the names and the list. 0, or -1 with errno. */
int iface_list(struct res_iface **list, size_t *n);

#endif
