/* SPDX-License-Identifier: GPL-2.0-only */
/* Every map of an instance. All are pinned below maps/ by their names here; the sizes given are the smallest
 * and are set by the loader. */
#ifndef FW_MAPS_H
#define FW_MAPS_H

#include <bpf/bpf_helpers.h>

#include "fw_abi.h"
#include "tables_abi.h"

/* One u64: which generation decides (fw_abi.h). */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct fw_control);
} control SEC(".maps");

/* Slots with one arena each. The loader sets value_size of the inner map to the size class. */
struct arena_map {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__uint(key_size, 4);
	__uint(value_size, FW_ARENA_MIN);
};
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, FW_SLOTS);
	__type(key, __u32);
	__array(values, struct arena_map);
} arenas SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, struct fw_counter);
} counters SEC(".maps");

struct ring_map {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, FW_RING_BYTES);
};
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, FW_RINGS);
	__type(key, __u32);
	__array(values, struct ring_map);
} rings SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct fw_readers);
} readers SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, struct fw_log_limit);
} log_limits SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct fw_limit_key);
	__type(value, __u64);
} limits SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 16);
	__type(key, __u32);
	__type(value, struct fw_flow_bucket);
} flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct fw_flow_head);
} flow_head SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct fw_state_stats);
} state_stats SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct fw_audit_stats);
} audit_stats SEC(".maps");

/* What "flow_head" says, as constants. */
const volatile __u64 flow_seed[FW_FLOW_SEEDS] = { 0 };
const volatile __u32 flow_buckets = 16;

/* Size of the arena's array element less 8. Constant for the verifier; all resident arenas have this size. */
const volatile __u32 arena_mask = FW_ARENA_MIN - 8;

static __always_inline const struct fw_arena *arena_in(__u32 slot)
{
	__u32 zero = 0;
	void *inner = bpf_map_lookup_elem(&arenas, &slot);

	return inner ? bpf_map_lookup_elem(inner, &zero) : 0;
}

#endif
