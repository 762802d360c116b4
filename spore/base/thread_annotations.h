#pragma once

// Clang's thread-safety attributes, checked by the `clang` preset, nothing elsewhere.

#if defined(__clang__)
#define SPORE_ATTRIBUTE(x) __attribute__((x))
#else
#define SPORE_ATTRIBUTE(x)
#endif

#define SPORE_CAPABILITY(x) SPORE_ATTRIBUTE(capability(x))
#define SPORE_SCOPED_CAPABILITY SPORE_ATTRIBUTE(scoped_lockable)
#define SPORE_GUARDED_BY(x) SPORE_ATTRIBUTE(guarded_by(x))
#define SPORE_REQUIRES(...) SPORE_ATTRIBUTE(requires_capability(__VA_ARGS__))
#define SPORE_EXCLUDES(...) SPORE_ATTRIBUTE(locks_excluded(__VA_ARGS__))
#define SPORE_ACQUIRE(...) SPORE_ATTRIBUTE(acquire_capability(__VA_ARGS__))
#define SPORE_RELEASE(...) SPORE_ATTRIBUTE(release_capability(__VA_ARGS__))
#define SPORE_NO_THREAD_SAFETY_ANALYSIS SPORE_ATTRIBUTE(no_thread_safety_analysis)
