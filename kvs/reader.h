// What both readers of a remote table share: who they read from, what they count, what they may
// answer.
//
// A reader finds a record without the server's CPU. MappedReader parses the server's memory in
// place (same machine, shm); RemoteReader READs 512 B into memory of its own and parses the copy
// (any fabric).
//
// Answers of both:
//   OK               *value is what some Put wrote, current at a moment between call and return.
//   NotFound         there was no such record at a moment between call and return.
//   Unavailable      the server is gone or stopped (where its death is not marked: it has not renewed
//                    its lease), or a record stayed locked till the deadline: connect again, or try
//                    again.
//   DeadlineExceeded RemoteReader only: its READs were held up: try again.
//   InvalidArgument  kvs/limits.h.
//   OutOfRange       the key is another server's (kvs/key_share.h): the caller's directory is old.
//   DataLoss         the server's memory makes no sense (a hostile or broken server): give it up.

#ifndef ACRE_KVS_READER_H_
#define ACRE_KVS_READER_H_

#include <cstdint>
#include <vector>

#include "transport/fabric.h"

namespace acre::kvs {

// One data region of a server, as the handshake names it. Order matters: it is the directory of the
// server's share of the table.
struct RegionEntry {
  uint32_t region_id = 0;
  transport::RemoteKey key;
  uint64_t size_bytes = 0;
};

struct ReaderStats {
  uint64_t gets = 0;
  // READs of buckets, chains, objects (the mapped reader: as many as it would be).
  uint64_t reads = 0;
  uint64_t retries = 0;  // Collects thrown away: a record was locked, torn, or moved.
  uint64_t misses = 0;
  uint64_t validations = 0;  // Marks (kvs/read_mark.h) whose words were loaded, or READ, again.
};

}  // namespace acre::kvs

#endif  // ACRE_KVS_READER_H_
