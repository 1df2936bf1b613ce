//! The memory allocator of programs that make tensors: they come and go at every layer, and the system's allocator would give
//! their pages back and ask for them again.

pub use mimalloc::MiMalloc;

/// mimalloc's `mi_option_purge_delay`, which its crate does not name: milliseconds after which free pages are given back.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;

/// Never gives freed memory back to the system: each step needs again what the one before it freed.
pub fn keep_freed() {
    // SAFETY: an option may be set at any time.
    unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, -1) };
}
