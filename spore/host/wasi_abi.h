#pragma once

// WASI preview 1 in numbers: the names are the specification's ("wasi_snapshot_preview1").

#include <cstdint>

namespace spore::host::wasi {

inline constexpr const char* kModule = "wasi_snapshot_preview1";

enum class Errno : uint16_t {
  kSuccess = 0,
  k2Big = 1,
  kAcces = 2,
  kAddrInUse = 3,
  kAddrNotAvail = 4,
  kAfNoSupport = 5,
  kAgain = 6,
  kAlready = 7,
  kBadF = 8,
  kBadMsg = 9,
  kBusy = 10,
  kCanceled = 11,
  kChild = 12,
  kConnAborted = 13,
  kConnRefused = 14,
  kConnReset = 15,
  kDeadLk = 16,
  kDestAddrReq = 17,
  kDom = 18,
  kDQuot = 19,
  kExist = 20,
  kFault = 21,
  kFBig = 22,
  kHostUnreach = 23,
  kIdRm = 24,
  kIlSeq = 25,
  kInProgress = 26,
  kIntr = 27,
  kInval = 28,
  kIo = 29,
  kIsConn = 30,
  kIsDir = 31,
  kLoop = 32,
  kMFile = 33,
  kMLink = 34,
  kMsgSize = 35,
  kMultiHop = 36,
  kNameTooLong = 37,
  kNetDown = 38,
  kNetReset = 39,
  kNetUnreach = 40,
  kNFile = 41,
  kNoBufs = 42,
  kNoDev = 43,
  kNoEnt = 44,
  kNoExec = 45,
  kNoLck = 46,
  kNoLink = 47,
  kNoMem = 48,
  kNoMsg = 49,
  kNoProtoOpt = 50,
  kNoSpc = 51,
  kNoSys = 52,
  kNotConn = 53,
  kNotDir = 54,
  kNotEmpty = 55,
  kNotRecoverable = 56,
  kNotSock = 57,
  kNotSup = 58,
  kNoTty = 59,
  kNxIo = 60,
  kOverflow = 61,
  kOwnerDead = 62,
  kPerm = 63,
  kPipe = 64,
  kProto = 65,
  kProtoNoSupport = 66,
  kProtoType = 67,
  kRange = 68,
  kRoFs = 69,
  kSPipe = 70,
  kSrch = 71,
  kStale = 72,
  kTimedOut = 73,
  kTxtBsy = 74,
  kXDev = 75,
  kNotCapable = 76,
};

enum class FileType : uint8_t {
  kUnknown = 0,
  kBlockDevice = 1,
  kCharacterDevice = 2,
  kDirectory = 3,
  kRegularFile = 4,
  kSocketDgram = 5,
  kSocketStream = 6,
  kSymbolicLink = 7,
};

using Rights = uint64_t;
inline constexpr Rights kFdDatasync = 1 << 0;
inline constexpr Rights kFdRead = 1 << 1;
inline constexpr Rights kFdSeek = 1 << 2;
inline constexpr Rights kFdFdstatSetFlags = 1 << 3;
inline constexpr Rights kFdSync = 1 << 4;
inline constexpr Rights kFdTell = 1 << 5;
inline constexpr Rights kFdWrite = 1 << 6;
inline constexpr Rights kFdAdvise = 1 << 7;
inline constexpr Rights kFdAllocate = 1 << 8;
inline constexpr Rights kPathCreateDirectory = 1 << 9;
inline constexpr Rights kPathCreateFile = 1 << 10;
inline constexpr Rights kPathLinkSource = 1 << 11;
inline constexpr Rights kPathLinkTarget = 1 << 12;
inline constexpr Rights kPathOpen = 1 << 13;
inline constexpr Rights kFdReaddir = 1 << 14;
inline constexpr Rights kPathReadlink = 1 << 15;
inline constexpr Rights kPathRenameSource = 1 << 16;
inline constexpr Rights kPathRenameTarget = 1 << 17;
inline constexpr Rights kPathFilestatGet = 1 << 18;
inline constexpr Rights kPathFilestatSetSize = 1 << 19;
inline constexpr Rights kPathFilestatSetTimes = 1 << 20;
inline constexpr Rights kFdFilestatGet = 1 << 21;
inline constexpr Rights kFdFilestatSetSize = 1 << 22;
inline constexpr Rights kFdFilestatSetTimes = 1 << 23;
inline constexpr Rights kPathSymlink = 1 << 24;
inline constexpr Rights kPathRemoveDirectory = 1 << 25;
inline constexpr Rights kPathUnlinkFile = 1 << 26;
inline constexpr Rights kPollFdReadwrite = 1 << 27;

// What makes sense for each kind of descriptor.
inline constexpr Rights kStreamRights = kFdFdstatSetFlags | kFdFilestatGet | kPollFdReadwrite;
inline constexpr Rights kInputRights = kStreamRights | kFdRead;
inline constexpr Rights kOutputRights = kStreamRights | kFdWrite | kFdDatasync | kFdSync;
inline constexpr Rights kFileRights = kFdDatasync | kFdRead | kFdSeek | kFdFdstatSetFlags | kFdSync |
                                      kFdTell | kFdWrite | kFdAdvise | kFdAllocate | kFdFilestatGet |
                                      kFdFilestatSetSize | kFdFilestatSetTimes | kPollFdReadwrite;
inline constexpr Rights kDirectoryRights =
    kFdFdstatSetFlags | kFdDatasync | kFdSync | kFdAdvise | kPathCreateDirectory | kPathCreateFile |
    kPathLinkSource | kPathLinkTarget | kPathOpen | kFdReaddir | kPathReadlink | kPathRenameSource |
    kPathRenameTarget | kPathFilestatGet | kPathFilestatSetSize | kPathFilestatSetTimes | kFdFilestatGet |
    kFdFilestatSetTimes | kPathSymlink | kPathRemoveDirectory | kPathUnlinkFile;
inline constexpr Rights kInheritedRights = kDirectoryRights | kFileRights;
// A file opened with one of these is opened for writing.
inline constexpr Rights kWritingRights = kFdWrite | kFdAllocate;

using FdFlags = uint16_t;
inline constexpr FdFlags kAppend = 1 << 0;
inline constexpr FdFlags kDsync = 1 << 1;
inline constexpr FdFlags kNonblock = 1 << 2;
inline constexpr FdFlags kRsync = 1 << 3;
inline constexpr FdFlags kSync = 1 << 4;
inline constexpr FdFlags kFdFlagsAll = 0x1f;

using OpenFlags = uint16_t;
inline constexpr OpenFlags kOpenCreate = 1 << 0;
inline constexpr OpenFlags kOpenDirectory = 1 << 1;
inline constexpr OpenFlags kOpenExclusive = 1 << 2;
inline constexpr OpenFlags kOpenTruncate = 1 << 3;
inline constexpr OpenFlags kOpenFlagsAll = 0x0f;

using LookupFlags = uint32_t;
inline constexpr LookupFlags kSymlinkFollow = 1 << 0;
inline constexpr LookupFlags kLookupFlagsAll = 1 << 0;

using TimeFlags = uint16_t;
inline constexpr TimeFlags kSetAccess = 1 << 0;
inline constexpr TimeFlags kSetAccessNow = 1 << 1;
inline constexpr TimeFlags kSetModified = 1 << 2;
inline constexpr TimeFlags kSetModifiedNow = 1 << 3;
inline constexpr TimeFlags kTimeFlagsAll = 0x0f;

enum class ClockId : uint32_t { kRealtime = 0, kMonotonic = 1, kProcessCpu = 2, kThreadCpu = 3 };
enum class Whence : uint8_t { kSet = 0, kCurrent = 1, kEnd = 2 };
enum class EventType : uint8_t { kClock = 0, kReadable = 1, kWritable = 2 };
inline constexpr uint16_t kClockAbsolute = 1;

// What lies in guest memory.  Little-endian on all machines that wasm compilers run on here.
struct Iovec {
  uint32_t address;
  uint32_t length;
};
struct Fdstat {
  uint8_t type;
  uint8_t pad0 = 0;
  uint16_t flags;
  uint32_t pad1 = 0;
  uint64_t rights_base;
  uint64_t rights_inheriting;
};
struct Filestat {
  uint64_t device;
  uint64_t inode;
  uint8_t type;
  uint8_t pad[7] = {};
  uint64_t links;
  uint64_t size;
  uint64_t access_ns;
  uint64_t modify_ns;
  uint64_t change_ns;
};
struct Prestat {
  uint32_t tag = 0;  // a directory; there is no other
  uint32_t name_length;
};
struct Dirent {
  uint64_t next;
  uint64_t inode;
  uint32_t name_length;
  uint8_t type;
  uint8_t pad[3] = {};
};
struct Subscription {
  uint64_t user_data;
  uint8_t tag;
  uint8_t pad0[7];
  // A clock, or in its first four bytes a descriptor.
  uint32_t id;
  uint32_t pad1;
  uint64_t timeout_ns;
  uint64_t precision_ns;
  uint16_t clock_flags;
  uint8_t pad2[6];
};
struct Event {
  uint64_t user_data;
  uint16_t error;
  uint8_t type;
  uint8_t pad0[5] = {};
  uint64_t bytes = 0;
  uint16_t flags = 0;
  uint8_t pad1[6] = {};
};
static_assert(sizeof(Iovec) == 8 && sizeof(Fdstat) == 24 && sizeof(Filestat) == 64 && sizeof(Prestat) == 8);
static_assert(sizeof(Dirent) == 24 && sizeof(Subscription) == 48 && sizeof(Event) == 32);

}  // namespace spore::host::wasi
