/* SPDX-License-Identifier: GPL-2.0-only */
/* Text <-> values of single fields. No positions, no JSON: the callers add where it stood. Each parse
 * function returns NULL on success or a static text saying what is wrong with the value. */
#ifndef FW_FIELD_VALUE_H
#define FW_FIELD_VALUE_H

#include "policy.h"

/* parse_cidr(s, len, c, masked): "ADDR" or "ADDR/LEN" of ${len} bytes, addresses as inet_pton(3) reads them
 * (RFC 4291 text; no octal, hex or short IPv4). An IPv4-mapped IPv6 address or prefix of at least /96
 * becomes IPv4. Host bits are cleared, and ${*masked} says whether there were any. */
const char *parse_cidr(const char *s, size_t len, struct cidr *c, bool *masked);

#define CIDR_TEXT_MAX 44 /* with the NUL */
/* format_cidr(c, buf): canonical text (RFC 5952), always with "/LEN". Returns its length. */
size_t format_cidr(const struct cidr *c, char buf[CIDR_TEXT_MAX]);

/* parse_uint(s, max, v): decimal digits only, no sign, no leading zero but "0" itself. */
const char *parse_uint(const char *s, uint64_t max, uint64_t *v);

/* parse_ports(s, r): "N" or "LO-HI", 1..65535. */
const char *parse_ports(const char *s, struct port_range *r);

/* parse_proto(s, p): a name of the policy language or 0..255. */
const char *parse_proto(const char *s, struct proto *p);
const char *proto_name(const struct proto *p, char buf[8]); /* canonical text: a name where there is one */

/* parse_icmp_type(s, t): 0..255 or an IANA name. */
const char *parse_icmp_type(const char *s, struct icmp_type *t);

/* icmp_type_nearest(s): the IANA name most like ${s}, or NULL. */
const char *icmp_type_nearest(const char *s);

/* parse_duration(s, seconds): "N", "Ns", "Nm", "Nh", "Nd". */
const char *parse_duration(const char *s, uint32_t *seconds);

#endif
